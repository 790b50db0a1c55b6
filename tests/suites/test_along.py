"""Every checkpoint of a run is measured beside what its training had cost, and the report draws the curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.made import result
from train.toy import train

from worldjepa.bench.cost import Stretch, operations, read_log, spent
from worldjepa.bench.curves import halfway, reached
from worldjepa.bench.page import report
from worldjepa.bench.record import Record, read, read_all
from worldjepa.bench.spending import ends
from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.evaluate.arithmetic import count_step
from worldjepa.report.markdown import markdown
from worldjepa.train.build import build_model, build_sampler, build_source
from worldjepa.train.trusted import read_config
from worldjepa.types import Batch

LOG = [Stretch(4, 0.5, 8), Stretch(6, 0.25, 8), Stretch(10, 1.0, 16)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three checkpoints."""
    out = tmp_path_factory.mktemp("along") / "way"
    saves = ["run.steps=6", "run.save_every=2", "run.keep_every=2", "run.log_every=3"]
    assert train(out, "arch.encoder.depth=4", *saves) == 0
    return out


def test_what_training_had_cost() -> None:
    assert spent(LOG, 0, "run") == (0, 0)
    assert spent(LOG, 4, "run") == (2.0, 32)
    assert spent(LOG, 5, "run") == (2.25, 40)
    assert spent(LOG, 10, "run") == (2 + 0.5 + 4, 32 + 16 + 64)
    with pytest.raises(UserError, match=r"run has a checkpoint after 11 steps, but its log .* ends after 10"):
        spent(LOG, 11, "run")


def test_the_log_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    log = read_log(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one.last for one in log] == [3, 6]
    assert {one.samples for one in log} == {8}
    assert spent(log, 6, "run").seconds == pytest.approx(
        sum(3 * row["time/step"] for row in rows if "time/step" in row)
    )
    with pytest.raises(UserError, match="No such file"):
        read_log(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time/step": 2}\n')
    with pytest.raises(UserError, match="is no log of a run"):
        read_log(tmp_path)


def test_a_run_is_measured_on_its_way(
    run: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["suite=way", f"checkpoint={run}", f"out={tmp_path}", "seeds=2", "run.accelerator=cpu", "run.threads=1"]
    words += ["--config-dir", str(options)]
    assert main(["bench", "run", *words]) == 0
    records = read_all(tmp_path)
    trained = [one for one in records if one.row == "trained" and one.probe == "ridge"]
    assert [(one.model, one.steps) for one in trained] == [("way@2", 2), ("way@4", 4), ("way@6", 6)]
    log, config = read_log(run), read_config(run / "checkpoints" / "step-00000006")
    per_sample = operations(config)
    for one in trained:
        assert one.steps is not None
        seconds, samples = spent(log, one.steps, "run")
        assert samples == 8 * one.steps
        assert one.cost == pytest.approx({"seconds": seconds, "samples": samples, "flops": samples * per_sample})
    assert {one.model for one in records if one.row != "trained"} == {"way@6"}
    assert all(not one.cost for one in records if one.row != "trained")
    capfd.readouterr()
    assert main(["bench", "run", *words]) == 0
    assert capfd.readouterr().out.count("0 results computed") == 3
    assert main(["bench", "report", str(tmp_path)]) == 0
    told = capfd.readouterr().out
    assert "patterns: against what training cost" in told
    assert "way@4" not in told.partition("How these numbers were made")[0]


def test_operations_are_those_of_steps(run: Path) -> None:
    """Within what masks change: the mean over draws lies between the least and the most of them."""
    config = read_config(run / "checkpoints" / "step-00000002")
    observations = build_source(config).train()
    model, sampler = build_model(config, 1, observations), build_sampler(config)
    obs = observations.observe(0)[None].expand(8, -1, -1, -1)  # type: ignore[index]
    grid = model.encoder.grid(observations.shape)
    import torch

    counts = [
        count_step(model, Batch(obs, sampler(grid, 8, torch.Generator().manual_seed(seed)))).total / 8
        for seed in range(12)
    ]
    assert 0.9 * min(counts) < operations(config) < 1.1 * max(counts)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("{run}/checkpoints/step-00000002", "is no run folder with checkpoints: this suite measures all that a run"),
        ("{copy}", "metrics.jsonl: No such file"),
    ],
)
def test_what_cannot_be_measured_on_its_way(
    checkpoint: str, message: str, run: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "checkpoints").symlink_to(run / "checkpoints")
    given = checkpoint.format(run=run, copy=copy)
    words = ["suite=way", f"checkpoint={given}", f"out={tmp_path / 'out'}", "--config-dir", str(options)]
    assert main(["bench", "run", *words]) == 2
    assert message in capfd.readouterr().err


def test_when_a_target_was_reached() -> None:
    assert reached([0, 10, 20], [50, 60, 80], 75) == 17.5
    assert reached([0, 10, 20], [50, 60, 80], 40) == 0
    assert reached([0, 10, 20], [50, 60, 80], 81) is None
    assert halfway([40, 60], [[70, 80], [90, 90]]) == 70


def on_the_way(name: str, scores: list[float], pace: float) -> list[Record]:
    """A run that was measured every hundred steps, and the untrained encoder beside its last checkpoint."""
    records = []
    for place, score in enumerate(scores, start=1):
        cost = {"seconds": pace * place, "samples": 1600.0 * place, "flops": 2e12 * place}
        way = f"{name}@{100 * place}"
        records.append(result(model=way, steps=100 * place, cost=cost, score=score, method=name))
    last = f"{name}@{100 * len(scores)}"
    records.append(result(model=last, row="untrained", score=40.0, steps=None))
    records.append(result(model=last, row="chance", probe="none", score=12.0, steps=None))
    return records


def test_the_report_shows_curves_and_times_to_a_target() -> None:
    records = [*on_the_way("fast", [70.0, 80.0], 10.0), *on_the_way("slow", [50.0, 55.0], 4.0)]
    kept = {one.model for one in ends(records)}
    assert kept == {"fast@200", "slow@200"}
    told = markdown(report(records, "Benchmark"))
    assert "to 60.0 %, half-way from untrained to the best" in told
    rows = {line.split("|")[1].strip(" *"): line for line in told.splitlines() if line.startswith("|")}
    target = told.partition("to 60.0 %")[2].partition("\n\n\n")[0]
    lines = [line for line in target.splitlines() if line.startswith(("| fast ", "| slow "))][:2]
    assert [cell.strip() for cell in lines[0].split("|")[2:5]] == ["6.7", "1,067", "1.33"]
    assert lines[1].count("not reached") == 3
    assert "fast@200" in rows
    assert "fast@100" not in rows
    page = report(records, "Benchmark").html()
    assert page.count("direction: linear probe against") >= 3
    plain = [result(), result(row="untrained")]
    assert ends(plain) == plain
    assert "what training cost" not in markdown(report(plain, "Benchmark"))


def test_errors_reach_a_target_from_above() -> None:
    """The mirror image of accuracies: from 4 down to 2, half-way is 3, between the first and the second measurement."""
    less = {"metric": "rmse", "higher_is_better": False, "probe": "depth"}
    records = [
        result(**{**vars(one), "score": one.score / 10, "scores": {"rmse": one.score / 10}, "key": one.key, **less})
        for one in on_the_way("near", [35.0, 20.0], 10.0)
        if one.row != "chance"
    ]
    told = markdown(report(records, "Benchmark"))
    target = told.partition("depth, to 3.000, half-way from untrained to the best")[2]
    (line,) = [line for line in target.splitlines() if line.startswith("| near ")][:1]
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["13.3", "2,133", "2.67"]  # a third of the way on


def test_results_from_before_there_were_costs_are_read(tmp_path: Path) -> None:
    file = result().write(tmp_path)
    old = json.loads(file.read_text())
    assert old.pop("cost") == {}
    file.write_text(json.dumps({**old, "schema": 1}))
    assert vars(read(file)) == vars(result())
    file.write_text(json.dumps({**old, "schema": 2}))
    with pytest.raises(UserError, match="field 'cost' is missing"):
        read(file)
    file.write_text(json.dumps({**old, "schema": 2, "cost": {"second": 1.0}}))
    with pytest.raises(UserError, match="field 'cost' cannot be"):
        read(file)
