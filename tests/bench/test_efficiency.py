"""Accuracy against time: what is made of the curves, what is done again and what is not, and that all begin alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import efficiency
from benchmarks.contender import Contender
from benchmarks.efficiency import METHODS, PARTS, best, estimate, rate_of, steps_of
from benchmarks.efficient import costs, frozen, outside, peer
from benchmarks.efficient.costs import Study
from benchmarks.efficient.curves import Point, interval, reached, rows, until
from benchmarks.efficient.frozen import SHARES, composed, probed
from worldjepa.bench.curves import halfway
from worldjepa.cli.dispatch import guarded
from worldjepa.cli.validate import settings
from worldjepa.errors import UserError
from worldjepa.evaluate.cached import weights_hash
from worldjepa.evaluate.results import Split
from worldjepa.train.build import build_model
from worldjepa.train.folder import write_json
from worldjepa.train.schedules import plan as schedule

SEEDS = [0, 1]
RATES = [1e-3, 2e-3]


# --- what is made of curves ------------------------------------------------------------------------------------------


def curve(*values: float) -> list[Point]:
    """One measurement every ten seconds, a hundred images and a thousand operations."""
    return [Point(n, 100.0 * n, 10.0 * n, 1e3 * n, {"100": value}) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "target", "seconds"),
    [
        ((50, 60, 80), 50, 0),
        ((50, 60, 80), 40, 0),
        ((50, 60, 80), 55, 5),
        ((50, 60, 80), 60, 10),
        ((50, 60, 80), 75, 17.5),
        ((50, 45, 65, 60, 70), 55, 15),  # for the first time
        ((50, 60, 80), 81, None),
    ],
)
def test_when_a_target_was_reached(values: tuple[float, ...], target: float, seconds: float | None) -> None:
    points = curve(*values)
    assert reached(points, "100", target, "seconds") == seconds
    assert reached(points[::-1], "100", target, "seconds") == seconds
    scaled = None if seconds is None else 10 * seconds
    assert reached(points, "100", target, "samples") == scaled


def test_how_numbers_are_told() -> None:
    assert (
        interval([1.0, 2.0, 3.0]) == "2.0 (-0.5 to 4.5)"
    )  # t of two degrees of freedom, 4.303, over the root of three
    assert interval([2.25]) == "2.2"
    assert interval([]) == ""
    assert until([10.0, None, 20.0]) == "2 of 3 seeds"
    assert until([None, None]) == "not reached"
    assert until([1.0, 2.0, 3.0]) == interval([1.0, 2.0, 3.0])


def test_the_target_is_half_way_to_the_best() -> None:
    assert halfway([40.0, 60.0], [[70.0, 80.0], [90.0, 90.0], [10.0, 99.0]]) == 70.0


def test_rows_of_a_file_have_every_share() -> None:
    point = Point(2, 32, 1.5, 1e9, {"100": 80.0, "1": 30.0})
    told = rows("I-JEPA", 4, [point])
    assert [(row["scores"], row["accuracy"]) for row in told] == [("100", 80.0), ("1", 30.0)]
    assert all((row["method"], row["seed"], row["seconds"]) == ("I-JEPA", 4, 1.5) for row in told)


def test_fewer_labels_tell_less() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.eye(4)

    def split(n: int) -> Split:
        y = torch.arange(n) % 4
        return Split(centres[y] + 0.3 * torch.randn(n, 4, generator=rng), y)

    found = probed({"train": split(400), "val": split(40), "test": split(200)}, 4)
    assert list(found) == list(SHARES)
    tests = [found[share]["test"] for share in SHARES]
    assert tests[0] > tests[1] > tests[2] > 30
    assert tests[0] > 90


# --- what is done, and only once -------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, list[str]]:
    """A study whose trainer and judge do nothing but note what they were asked: the second rate is the better one."""
    made, calls = Study(tmp_path, "patterns", 8.0, 16), []
    flops = {"student": 1.5, "teacher": 0.5, "predictor": 0.0, "objective": 0.0}
    costs.keep(made, {name: {"ms": 100.0, "data_ms": 1.0, "flops": flops} for name in METHODS})

    def train(*words: str) -> float:
        given = dict(word.split("=", 1) for word in words[1:])
        calls.append(f"train {given['method']} {given['optim.lr']} {given['seed']}")
        folder = Path(given["run.out"])
        every = int(given["run.keep_every"])
        for step in range(every, int(given["run.steps"]) + 1, every):
            (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)
        write_json(folder / "report.json", {})
        return 1.0

    def measured(folder: Path, words: Sequence[str], step: int) -> frozen.Scores:
        file = folder / f"scores-{step}.json"
        if not file.exists():
            calls.append("measure")
            value = 10.0 if "optim.lr=0.002" in words else 5.0
            write_json(file, {share: {"test": value + step, "val": value} for share in SHARES})
        return frozen.read(file)

    def untrained(folder: Path, words: Sequence[str], seed: int) -> frozen.Scores:
        write_json(folder / f"untrained-{seed}.json", {share: {"test": 1.0, "val": 1.0} for share in SHARES})
        return {}

    monkeypatch.setattr(frozen, "worldjepa", train)
    monkeypatch.setattr(efficiency, "measured", measured)
    monkeypatch.setattr(efficiency, "untrained", untrained)
    return made, calls


def test_what_is_done_is_not_done_again(study: tuple[Study, list[str]]) -> None:
    made, calls = study
    names = ["I-JEPA", "MAE"]
    assert steps_of(made, "I-JEPA") == 80
    before = estimate(made, names, SEEDS, RATES)
    # Two methods with two seeds each, and for each method one more rate. Whether a third must be tried is not known yet.
    runs, judged = 6, 2 * (2 * 4 + 1) + 2
    assert before == pytest.approx((runs * (8 + efficiency.START) + judged * efficiency.JUDGE) / 60)
    efficiency.work(made, names, SEEDS, RATES, "")
    assert sorted(call for call in calls if call != "measure") == sorted(
        [f"train {m} {r} 0" for m in ("ijepa", "mae") for r in ("0.001", "0.002", "0.004")]
        + [f"train {m} 0.002 1" for m in ("ijepa", "mae")]
    )
    assert calls.count("measure") == 2 * (2 * 4 + 2)
    assert rate_of(made, "MAE", RATES) == rate_of(made, "lightly MAE", RATES) == 2e-3
    for folder in made.folder.glob("*-*/checkpoints"):
        assert len(list(folder.iterdir())) == 1  # what has been measured is not kept
    calls.clear()
    efficiency.work(made, names, SEEDS, RATES, "")
    assert calls == []
    assert estimate(made, names, SEEDS, RATES) == 0


def test_what_was_cut_off_goes_on(study: tuple[Study, list[str]]) -> None:
    made, calls = study
    efficiency.work(made, ["I-JEPA"], SEEDS, RATES, "")
    calls.clear()
    folder = efficiency.folder_of(made, "I-JEPA", 2e-3, 1)
    (folder / "scores-40.json").unlink()
    assert efficiency.curve(made, "I-JEPA", 2e-3, 1) == []  # not complete: in no table
    efficiency.work(made, ["I-JEPA"], SEEDS, RATES, "")
    assert calls == ["measure"]
    (folder / "report.json").unlink()
    calls.clear()
    efficiency.work(made, ["I-JEPA"], SEEDS, RATES, "")
    assert calls == ["train ijepa 0.002 1"]


def test_tables_and_files(study: tuple[Study, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = study
    assert efficiency.show(made, ["I-JEPA"], SEEDS, RATES, []) == {}
    efficiency.work(made, ["I-JEPA", "MAE"], SEEDS, RATES, "")
    found = efficiency.show(made, ["I-JEPA", "MAE", "lightly MAE"], SEEDS, RATES, [])
    assert {name: list(runs) for name, runs in found.items()} == {"I-JEPA": SEEDS, "MAE": SEEDS}
    points = found["MAE"][1]
    assert [point.step for point in points] == [0, 10, 20, 40, 80]
    assert points[-1] == Point(80, 1280, 8.0, 2560.0, dict.fromkeys(SHARES, 90.0))
    told = json.loads((made.folder / "curves.json").read_text())
    assert len(told) == 2 * 2 * 5 * 3
    assert (made.folder / "curves.csv").read_text().count("\n") == len(told) + 1
    out = capsys.readouterr().out
    assert "to 45.5 % with 10 % of the labels" in out
    assert "90.0" in out
    file = made.folder / "results.md"
    file.write_text("<!-- made:efficiency-patterns -->\n<!-- /made:efficiency-patterns -->\n")
    efficiency.show(made, ["I-JEPA", "MAE"], SEEDS, RATES, [], file)
    assert file.read_text().count("| MAE |") == 1 + 1 + len(SHARES)


def test_another_package_is_held_against_its_own_beginning(study: tuple[Study, list[str]]) -> None:
    made, _ = study
    efficiency.work(made, ["MAE"], SEEDS, RATES, "")
    costs.keep(made, {"lightly MAE": {"ms": 200.0}})
    folder = efficiency.folder_of(made, "lightly MAE", 2e-3, 0)
    folder.mkdir()
    write_json(folder / "done.json", {"flops": 3.0})
    for step in (0, 5, 10, 20):
        write_json(folder / f"scores-{step}.json", {share: {"test": 20.0 + step, "val": 0.0} for share in SHARES})
    assert efficiency.curve(made, "lightly MAE", 2e-3, 0) == []
    write_json(folder / "scores-40.json", {share: {"test": 99.0, "val": 0.0} for share in SHARES})
    found = efficiency.gathered(made, ["MAE", "lightly MAE"], SEEDS, RATES)
    points = found["lightly MAE"][0]
    assert [(point.step, point.scores["10"]) for point in points] == [(0, 20), (5, 25), (10, 30), (20, 40), (40, 99)]
    assert points[-1].flops == 40 * 16 * 3.0
    shown = efficiency.accuracy_table(found)
    cells = [list(column.cells) for column in shown.columns]
    assert cells[0] == ["untrained encoder", "MAE", "lightly MAE"]
    assert cells[1][0].startswith("1.0")
    assert cells[4] == ["", interval([89.0, 89.0]), "79.0"]
    assert efficiency.own(found) == {"MAE": found["MAE"]}  # the target does not depend on who else is there


@pytest.mark.parametrize("name", ["costs.json", "rates.json", "untrained-0.json"])
def test_a_damaged_file_is_named(study: tuple[Study, list[str]], name: str) -> None:
    made, _ = study
    efficiency.work(made, ["I-JEPA"], SEEDS, RATES, "")
    (made.folder / name).write_text('{"I-JEPA": ')
    with pytest.raises(UserError, match=f"{name} is damaged"):
        efficiency.show(made, ["I-JEPA"], SEEDS, RATES, [])


def test_peers_that_are_not_there_are_named_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["efficiency", "--peers", "/no/python", "--out", str(tmp_path / "out")])
    monkeypatch.setattr(efficiency, "work", lambda *given: pytest.fail("something was done"))
    assert guarded(efficiency.main) == 2
    error = capsys.readouterr().err
    assert "--peers /no/python: there is no such program" in error
    assert error.count("\n") == 1


def test_studies_are_not_mixed(study: tuple[Study, list[str]]) -> None:
    made, _ = study
    with pytest.raises(UserError, match=r"8\.0.*16.*another --out"):
        costs.of(made._replace(batch=32))


@pytest.mark.parametrize(
    ("top", "tried"),
    [
        (2e-3, [1e-3, 2e-3, 3e-3]),
        (3e-3, [1e-3, 2e-3, 3e-3, 6e-3]),
        (6e-3, [1e-3, 2e-3, 3e-3, 6e-3, 12e-3]),
        (1.0, [1e-3, 2e-3, 3e-3, 6e-3, 12e-3]),
        (5e-4, [1e-3, 2e-3, 3e-3, 5e-4, 2.5e-4]),
        (1e-3, [1e-3, 2e-3, 3e-3, 5e-4]),
        (1e-9, [1e-3, 2e-3, 3e-3, 5e-4, 2.5e-4]),
    ],
)
def test_a_rate_that_is_best_at_an_end_is_not_the_last(
    study: tuple[Study, list[str]], monkeypatch: pytest.MonkeyPatch, top: float, tried: list[float]
) -> None:
    """Of all rates `top` is the best, and the nearer the better."""
    made, _ = study
    monkeypatch.setattr(efficiency, "run", lambda *given: None)
    monkeypatch.setattr(
        efficiency, "scores", lambda study, name, rate, seed, part: {"100": {"val": -abs(math.log(rate / top))}}
    )
    chosen = efficiency.chosen_rate(made, "MAE", [3e-3, 1e-3, 2e-3])
    assert chosen == min(tried, key=lambda rate: abs(math.log(rate / top)))
    found = json.loads((made.folder / "rates.json").read_text())["MAE"]
    assert [float(rate) for rate in found] == tried


def test_of_equal_rates_the_lower() -> None:
    assert best({"0.003": 70.0, "0.0015": 70.0, "0.00075": 60.0}) == 1.5e-3


# --- what is compared ------------------------------------------------------------------------------------------------


def test_all_methods_begin_with_the_same_encoder() -> None:
    """The untrained encoder is measured once, for all of them."""
    small = ["arch.dim=24", "arch.encoder.depth=1", "predictor.hidden=8"]
    found = set()
    for method in METHODS.values():
        words = [
            *Study(Path(), "patterns", 1, 4).words(method, 1e-3),
            *small[: 3 if method in ("ibot", "lejepa") else 2],
        ]
        config = composed(words)
        torch.manual_seed(3)
        model = build_model(config, 10)
        found.add(weights_hash(model.target.released(model.encoder)))
    assert len(found) == 1


def test_steps_take_turns() -> None:
    order: list[str] = []

    def piece(name: str, seconds: float) -> Callable[[], float]:
        def work() -> float:
            order.append(name)
            return seconds

        return work

    assert costs.in_turns({"a": piece("a", 1.0), "b": piece("b", 2.0)}, rounds=3) == {"a": 1.0, "b": 2.0}
    assert order == list("ab" * (3 + costs.WARM_UP))


def test_a_job_for_another_package_has_our_sizes_and_schedule(tmp_path: Path) -> None:
    study = Study(tmp_path, "patterns", 1, 16, ema=0.9)
    (study.folder).mkdir()
    (study.folder / "images.npz").touch()
    job = outside.job_of(study, "lightly MAE", tmp_path, 2e-3, 5, 40, [20, 40])
    job.save(tmp_path / "job.json")
    assert peer.Job.load(str(tmp_path / "job.json")) == job
    config = composed([*study.words("mae", 2e-3), "run.steps=40"])
    run, optim, _ = settings(config)
    times = schedule(run, optim, 10_000, 1)
    assert job.rates == [times.lr(step) for step in range(40)]
    assert (job.method, job.dim, job.depth, job.heads, job.batch, job.seed) == ("mae", 96, 4, 3, 16, 5)
    assert (job.patch, job.predictor_dim, job.predictor_depth, job.ema) == (8, 48, 2, 0.9)
    assert outside.job_of(study, "lightly MAE", tmp_path, 2e-3, 5, 0, []).rates == []


def test_another_package_trains_and_its_features_are_kept(tmp_path: Path) -> None:
    """The loop around a package, with a learner of a few lines in its place: the mean colour, by regression."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8, generator=rng)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    shares: list[float] = []

    def loss(x: Tensor) -> Tensor:
        return (net(x).mean(1) - x.mean((1, 2, 3))).square().mean()

    learner = peer.Learner(net, loss, shares.append, lambda x: net(x)[:, None])
    job = peer.Job("toy", "", str(tmp_path), 4, 3, 1, 1, 1, 1, 1, 8, 0, 0.0, [3e-2] * 30, [0, 1, 30], None)
    run = peer.Run(job, learner, images)
    drawn = [row for _ in range(5) for row in run.rows()]  # 40 of 20 images: two permutations
    assert sorted(drawn[:20]) == sorted(drawn[20:]) == list(range(20))
    assert drawn[:20] != drawn[20:]
    untrained = net(run.normalised(images[:5])).detach().numpy().copy()
    before = float(loss(run.normalised(images)).detach())
    run.learn(dict.fromkeys(peer.SPLITS, images[:5]))
    assert shares == pytest.approx([(step + 1) / 30 for step in range(30)])
    told = json.loads((tmp_path / "done.json").read_text())
    assert told["loss"] < before / 10
    assert told["steps"] == 30
    assert told["flops"] == 2 * 2 * 16 * 3  # a product forward and one backward: the images ask for no gradient
    late, early, first = (np.load(tmp_path / f"features-{step}.npz")["test"] for step in (30, 1, 0))
    assert late.shape == (5, 3)
    assert np.allclose(late, net(run.normalised(images[:5])).detach().numpy(), atol=1e-5)
    assert np.allclose(first, untrained, atol=1e-5)
    assert not np.allclose(late, early)
    assert not np.allclose(first, early)


def test_parts_of_a_run_are_whole() -> None:
    assert max(efficiency.MEASURED) == PARTS
    assert all(PARTS % part == 0 for part in efficiency.MEASURED)


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    talkative = """echo 10:31 INFO imported; while read order; do echo '{"seconds": 2.5}'; done"""
    child = Contender("/bin/sh", ["-c", talkative], tmp_path)
    assert [child.step()["seconds"] for _ in range(2)] == [2.5, 2.5]
    child.close()
