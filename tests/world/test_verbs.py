"""`worldjepa collect`, training on what it wrote, and `worldjepa plan`, from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modalities.trajectory import embedded
from modalities.trajectory.rooms import RoomsEnv
from world.exact import empty, exact
from worldjepa.cli import main
from worldjepa.cli.planning import opened
from worldjepa.errors import Unsaved
from worldjepa.world.behaviour import Wander
from worldjepa.world.probe import fit_probe, open_loop
from worldjepa.world.record import seeds_of

TOY = [
    *(
        "modality=trajectory",
        "data.size=16",
        "data.layout=smaze",
        "data.episodes=20",
        "data.steps=12",
        "data.horizon=4",
    ),
    *("arch.dim=8", "arch.size=16", "arch.predictor.dim=24", "arch.predictor.depth=1", "run.batch_size=8"),
    *("run.threads=1", "run.accelerator=cpu", "run.tensorboard=false"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy world model after ten steps."""
    folder = tmp_path_factory.mktemp("world") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 24, "val": 12, "test": 12})
        assert main(["train", *TOY, "run.steps=10", "run.save_every=5", f"run.out={folder}"]) == 0
    return folder


def losses(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


def test_training_is_measured_by_where_the_point_is(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert {"eval/linear_top1", "eval/row/linear_top1", "eval/prediction_ratio"} <= set(report["trained"])


def test_training_goes_on_bit_for_bit_with_its_actions(run: Path, tmp_path: Path) -> None:
    words = [*TOY, "run.log_every=1", "probe.enabled=false"]
    assert main(["train", *words, "run.steps=6", f"run.out={tmp_path / 'once'}"]) == 0
    assert main(["train", *words, "run.steps=6", "run.save_every=3", f"run.out={tmp_path / 'twice'}"]) == 0
    kept = next((tmp_path / "twice" / "checkpoints").glob("step-*3"))
    more = ["run.steps=6", f"run.resume={kept}", f"run.out={tmp_path / 'thrice'}"]
    assert main(["train", *words, *more]) == 0
    assert losses(tmp_path / "thrice") == losses(tmp_path / "once")[3:]


def test_what_actions_are_travels_in_the_checkpoint(run: Path) -> None:
    model, _, environment, made_with = opened(run, ["env.layout=snake"], [], [])
    assert made_with["layout"] == "snake"
    assert isinstance(environment, RoomsEnv)
    spec = model.actions
    assert torch.all(spec.low < -0.8)
    assert torch.all(spec.high > 0.8)
    assert torch.all((spec.std > 0.2) & (spec.std < 0.8))


@pytest.mark.parametrize(
    "words",
    [
        ["tasks=any", "samples=8", "iterations=2", "whole=true"],
        ["tasks=near", "planner=mppi", "cost=reach", "space=bank", "samples=8", "reduce=min"],
        ["tasks=far", "planner=gradient", "samples=2", "iterations=2", "env.layout=snake", "cost=cosine"],
        ["planner=random", "samples=8", "reduce=last"],
        ["planner=tree", "samples=32", "cost=landmarks"],
    ],
    ids=["cem", "mppi", "gradient", "random", "tree"],
)
def test_plan(
    words: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from worldjepa.cli import agents, planning

    monkeypatch.setattr(planning, "PROBED", 50)
    monkeypatch.setattr(planning, "ASTRAY", 5)
    monkeypatch.setattr(agents, "WATCHED", 6)
    monkeypatch.setattr(agents, "SURVEYED", 6)
    monkeypatch.setattr(agents, "FITTED", 40)
    out = tmp_path / "out"
    command = ["plan", f"checkpoint={run}", "count=3", "budget=7", "horizon=4", "execute=2", f"out={out}", *words]
    assert main(command) == 0
    told = capfd.readouterr()
    assert "shortest way" in told.out + told.err
    found = json.loads((out / "plan.json").read_text())
    names = list(found["actors"])
    assert [name.split()[0] for name in names] == ["planned", "random", "shortest"]
    for row in found["actors"].values():
        assert row["interval"][0] <= row["success"] <= row["interval"][1]
        assert row["success"] == np.mean([first >= 0 for first in row["first"]])
    assert found["actors"][names[0]]["evaluations"] > 0
    assert set(found["open_loop_error"]) == {"10", "30", "60"}
    with Image.open(out / "episodes.png") as sheet, Image.open(out / "episode.gif") as film:
        assert sheet.size == (3 * 196 - 4, 192)
        assert getattr(film, "n_frames", 1) >= 2
    # The same tasks from the file give the same numbers.
    again = [word for word in command if not word.startswith(("tasks=", "out="))]
    assert main([*again, f"tasks={out / 'tasks.json'}", f"out={tmp_path / 'again'}"]) == 0
    repeated = json.loads((tmp_path / "again" / "plan.json").read_text())
    assert repeated["actors"] == found["actors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planner=cme"], "planner 'cme' is not known (did you mean 'cem'?)"),
        (["tasks=fat"], "kind of tasks 'fat' is not known (did you mean 'far'?)"),
        (["tasks=none.json"], "tasks 'none.json' is not there"),
        (["samples=1"], "samples=1: planner=cem needs at least 2"),
        (["top=tree"], "top=tree is the planner of the highest of several levels, but one level is planned on"),
        (["horizon=0"], "horizon=0: must be a whole number, 1 or more"),
        (["execute=20"], "execute must be at least 1 and at most horizon=12, not 20"),
        (["env.layout=snack"], "'snack' is not known (did you mean 'snake'?)"),
        (["horizn=3"], "key 'horizn' is not one of plan's (did you mean 'horizon'?)"),
    ],
)
def test_mistakes_of_plan_are_one_line(
    words: list[str], message: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", f"checkpoint={run}", *words]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert message in lines[-1]


def test_a_folder_that_cannot_be_made_is_one_line(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "plans"
    assert main(["plan", f"checkpoint={run}", "count=2", "budget=2", "samples=4", f"out={out}"]) == Unsaved.exit_code
    error = capfd.readouterr().err
    assert f"out={out} could not be made" in error
    assert "Traceback" not in error


def test_what_is_no_world_model_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from golden.regenerate import RUN
    from golden.regenerate import TOY as TOYS

    words = [*RUN, *TOYS["image"], "masks.min_context=4", "run.steps=1", f"run.out={tmp_path / 'r'}"]
    assert main(["train", *words, f"data.cache={tmp_path / 'cache'}"]) == 0
    assert main(["plan", f"checkpoint={tmp_path / 'r'}"]) == 2
    assert "was not trained in an environment with goals" in capfd.readouterr().err


def test_collect_train_on_what_was_collected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "episodes"
    words = ["collect", "env=rooms", "env.layout=smaze", "env.size=16", "steps=9", f"out={out}"]
    assert main([*words, "episodes=3"]) == 0
    assert main([*words, "episodes=5"]) == 0
    assert "2 episodes recorded, 5 in" in capfd.readouterr().out.replace("\n", " ")
    assert len(list(out.glob("*.npz"))) == 5
    (out / "episode-9999999.npz").write_bytes(b"damaged")
    toy = [word for word in TOY if not word.startswith("data.")]
    train = [*toy, "preset=quickstart_rooms", f"data.root={out}", "data.horizon=4", "probe.enabled=false"]
    # One of 26 windows is the damaged file.
    assert (
        main(["train", *train, "data.max_bad_fraction=1", "run.workers=0", "run.steps=8", f"run.out={tmp_path / 'r'}"])
        == 0
    )
    assert "episode-9999999" in (tmp_path / "r" / "quarantine.jsonl").read_text()
    capfd.readouterr()
    for wrong, message in (
        (["env=rooms", "env.size=8", "episodes=3"], "holds episodes with size=16, not 8"),
        (["env=room", "episodes=3"], "did you mean 'rooms'?"),
        (["env=patterns", "episodes=3"], "these data are not simulated"),
        (["env=rooms", "episodes=three"], "episodes=three: must be a whole number"),
        (["env=rooms", "episodes=3", "turn=often"], "turn=often: must be a number"),
    ):
        assert (
            main(["collect", *wrong, "steps=9", f"out={out}", *(["env.layout=smaze"] if "env=rooms" in wrong else [])])
            == 2
        )
        assert message in capfd.readouterr().err


def test_gymnasium_by_name(tmp_path: Path) -> None:
    out = tmp_path / "pendulum"
    assert main(["collect", "env=gymnasium:MountainCarContinuous-v0", "episodes=2", "steps=6", f"out={out}"]) == 0
    assert sorted(path.name for path in out.iterdir())[1:] == ["episode-0000000.npz", "episode-0000001.npz"]


def test_probe_and_imagination_of_a_world_that_is_understood() -> None:
    env, model = empty(), exact()
    probe = fit_probe(model, env, seeds_of(1, range(100)))
    assert probe.r2 > 0.9999
    errors = open_loop(model, env, probe, Wander(), seeds_of(2, range(20)), (1, 10))
    assert errors[1] < errors[10]
    assert errors[1] < 0.02  # the model does not know the border, nor that long pushes are shortened
    noise = exact(stride=0.2)
    assert open_loop(noise, env, probe, Wander(), seeds_of(2, range(20)), (10,))[10] > 3 * errors[10]
