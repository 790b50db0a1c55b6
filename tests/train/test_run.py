"""The training loop through its front door: what a run leaves behind, and that nothing but the work asked for shows in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from train.toy import FIRST_STEP, TINY, column, contents, differing, losses, rows, table, tensors, train
from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import settings, validate
from worldjepa.nn.blocks import Block
from worldjepa.train.exits import NOT_FINITE
from worldjepa.train.schedules import plan

ROOT = Path(__file__).resolve().parents[2]

TRAINING = {
    *("train/loss", "train/smooth_l1", "train/lr", "train/wd", "train/ema", "train/grad_norm", "train/epoch"),
    *("train/context_tokens", "train/target_tokens", "time/step", "time/data_percent"),
    *("perf/samples_per_s", "system/memory_gb", "train/skipped", "train/spikes"),
}
EVALUATION = {
    *("collapse/rankme", "collapse/feature_std"),
    *("eval/prediction_loss", "eval/mean_baseline_loss", "eval/prediction_ratio"),
}


def test_the_files_of_a_run(finished: Path) -> None:
    files = {path.name for path in finished.iterdir()}
    assert files == {
        *("config.yaml", "overrides.json", "environment.json", "metrics.csv", "metrics.jsonl"),
        *("baselines.json", "report.json", "report.html", "checkpoints"),
    }
    assert [path.name for path in sorted((finished / "checkpoints").iterdir())] == ["step-00000003", "step-00000006"]
    assert {path.name for path in (finished / "checkpoints" / "step-00000006").iterdir()} == {
        *("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "MANIFEST.json"),
    }


def test_the_configuration_is_kept_in_full(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert "${" not in text
    config = OmegaConf.create(text)
    validate(config)
    assert config.run.steps == 6
    assert config.modality.tokenizer.patch == config.arch.patch == 4
    assert (finished / "checkpoints" / "step-00000006" / "config.yaml").read_text() == text


def test_the_overrides_compose_to_the_same_configuration(finished: Path) -> None:
    words = json.loads((finished / "overrides.json").read_text())
    assert "data.count=256" in words
    again = OmegaConf.to_yaml(compose_config("train", words).config, resolve=True)
    assert again == (finished / "config.yaml").read_text()


def test_the_environment_names_what_ran(finished: Path) -> None:
    told = json.loads((finished / "environment.json").read_text())
    assert told["versions"]["torch"] in torch.__version__
    assert all(version != "not installed" for version in told["versions"].values())
    assert told["threads"] == 1
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["overrides"] == json.loads((finished / "overrides.json").read_text())
    if (ROOT / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", told["git"])
    else:
        assert told["git"] is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", told["git"])


def test_both_metrics_files_hold_the_same_rows(finished: Path) -> None:
    written = rows(finished)
    assert table(finished) == written
    assert [row["step"] for row in written] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert all(set(row) - {"step"} == TRAINING for row in written[1:7])
    assert all(set(row) - {"step"} == EVALUATION for row in (written[0], written[-1]))


def test_the_numbers_of_a_row_make_sense(finished: Path) -> None:
    for row in rows(finished)[1:7]:
        assert row["train/loss"] == row["train/smooth_l1"]
        assert row["train/epoch"] == row["step"] * 8 / 256
        assert 0 <= row["time/data_percent"] <= 100
        assert row["perf/samples_per_s"] == pytest.approx(8 / row["time/step"])
        assert 4 <= row["train/context_tokens"] <= 64
        assert 0 < row["train/target_tokens"] <= 16


def test_the_report_repeats_the_evaluations(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    before, after = ({name: row[name] for name in EVALUATION} for row in (rows(finished)[0], rows(finished)[-1]))
    assert report["steps"] == 6
    assert report["trained_seconds"] > 0
    assert report["trained"] == after
    assert report["baselines"] == json.loads((finished / "baselines.json").read_text())
    assert report["baselines"] == {"chance": {}, "raw input": {}, "untrained encoder": before}


def test_logged_schedules_are_those_of_the_plan(finished: Path) -> None:
    run, optim, _ = settings(OmegaConf.load(finished / "config.yaml"))
    expected = plan(run, optim, samples=256, processes=1)
    assert column(finished, "train/lr") == [expected.lr(step) for step in range(6)]
    assert column(finished, "train/wd") == [expected.weight_decay(step) for step in range(6)]
    assert column(finished, "train/ema") == pytest.approx([0.99 + 0.01 * step / 6 for step in range(6)])
    assert len(set(column(finished, "train/lr"))) == 6


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert train(finished) == 2
    error = capsys.readouterr().err
    assert str(finished) in error
    assert "run.resume=auto" in error
    assert contents(finished) == before


def test_without_run_out_the_folder_is_named_by_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worldjepa.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, "run.steps=1"]) == 0
    (config,) = tmp_path.rglob("metrics.jsonl")
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d/metrics.jsonl", str(config.relative_to(tmp_path)))


def test_only_the_newest_checkpoints_stay_and_evaluations_come_when_asked(tmp_path: Path) -> None:
    assert train(tmp_path, "run.save_every=1", "run.keep=2", "run.eval_every=4", "run.log_every=4") == 0
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000005", "step-00000006"]
    assert [(row["step"], "train/loss" in row) for row in rows(tmp_path)] == [
        *((0, False), (4, True), (4, False), (6, True), (6, False)),
    ]


def test_a_row_averages_the_steps_since_the_last(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "run.log_every=4") == 0
    single = losses(finished)
    assert losses(tmp_path) == pytest.approx([sum(single[:4]) / 4, sum(single[4:]) / 2], rel=1e-6)


def test_another_seed_is_another_run(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "seed=1") == 0
    assert min(abs(a - b) for a, b in zip(losses(tmp_path), losses(finished), strict=True)) > 1e-5


def test_data_workers_change_nothing(tmp_path: Path) -> None:
    words = ["data.augment=crop", "run.steps=3"]
    for workers in (0, 2):
        assert train(tmp_path / str(workers), *words, f"run.workers={workers}") == 0
    one, other = (tensors(tmp_path / name, "step-00000003") for name in ("0", "2"))
    assert differing(one, other) == []


def test_random_crops_are_used(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "data.augment=crop", "run.steps=1") == 0
    assert abs(losses(tmp_path)[0] - losses(finished)[0]) > 1e-5


def test_accumulation_is_a_larger_batch_in_parts(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "run.accumulate=2", "run.batch_size=4") == 0
    assert losses(tmp_path) == pytest.approx(losses(finished), abs=1e-5)
    assert column(tmp_path, "train/grad_norm") == pytest.approx(column(finished, "train/grad_norm"), rel=1e-4)
    assert column(tmp_path, "train/epoch") == column(finished, "train/epoch")


def moments(out: Path) -> float:
    """The norm of AdamW's first moments, which after one step are a tenth of the gradient it was given."""
    found = [value for name, value in tensors(out, FIRST_STEP).items() if name.endswith("/exp_avg")]
    return float(torch.nn.utils.get_total_norm(found))


def test_clipping_bounds_the_gradient_and_logs_its_norm_before(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "free", "run.steps=1") == 0
    assert train(tmp_path / "clipped", "run.steps=1", "run.clip_norm=0.01") == 0
    (free,), (clipped,) = (column(tmp_path / name, "train/grad_norm") for name in ("free", "clipped"))
    assert clipped == pytest.approx(free, rel=1e-5)
    assert free > 0.1
    assert moments(tmp_path / "free") == pytest.approx(0.1 * free, rel=1e-4)
    assert moments(tmp_path / "clipped") == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_recomputing_activations_gives_the_same_losses(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_calls(monkeypatch)
    assert train(tmp_path, "run.activation_checkpointing=true") == 0
    assert losses(tmp_path) == pytest.approx(losses(finished), rel=1e-6)
    # Every step runs encoder and predictor twice and the target once; the two trials run each of the three once.
    assert len(passes) == 6 * (2 + 2 + 1) + len(TRIALS)


TRIALS = 2 * (3 + 1) * [None]
"""Two evaluations: rank and spread of 256 observations in one batch, and a trial of encoder, predictor and target."""


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows by one with every forward pass of a transformer block."""
    calls: list[None] = []
    original = Block.forward

    def forward(self: Block, *args: object) -> object:
        calls.append(None)
        return original(self, *args)

    monkeypatch.setattr(Block, "forward", forward)
    return calls


def test_bfloat16_stays_near(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "run.precision=bf16-mixed") == 0
    assert losses(tmp_path) == pytest.approx(losses(finished), rel=0.03)
    assert losses(tmp_path) != pytest.approx(losses(finished), rel=1e-6)
    assert all(value.dtype is torch.float32 for value in tensors(tmp_path).values())


BLOWN_UP = ["optim.lr=1e30", "optim.start_lr=1e30"]
"""After the first step nothing is a number any more."""


def test_a_loss_that_stays_not_finite_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, *BLOWN_UP) == NOT_FINITE == 76
    told = capsys.readouterr().out
    assert "step 1: loss or gradient is not finite; the step is skipped" in told
    assert "the last 5 steps were skipped: lower optim.lr" in told
    assert [row.get("train/skipped") for row in rows(tmp_path)[1:]] == [0, 1, 2, 3, 4, 5]
    assert rows(tmp_path)[-1]["train/loss"] is None
    assert not (tmp_path / "report.json").exists()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("due", ["run.eval_every=2", "run.save_every=2"])
def test_no_broken_model_is_measured_or_saved_between_two_rows(due: str, tmp_path: Path) -> None:
    assert train(tmp_path, *BLOWN_UP, "run.log_every=100", due) == NOT_FINITE
    assert not (tmp_path / "checkpoints").exists()
    assert [row["step"] for row in rows(tmp_path)] == [0, 6]


REFUSED = {
    "run.wandb=true": "needs the package wandb",
    "run.tensorboard=true": "needs the package tensorboard",
    "masks.min_context=60": "masks.min_context=60",
    "run.steps=null run.epochs=0.001": "less than one step",
    "optim.warmup_steps=7": "a warm-up of 7 steps",
    "run.devices=cuda": "Lightning Fabric refuses",
    "arch.encoder.heads=5": "does not divide among 5 heads",
    "data.size=34": "34",
    "run.resume=nowhere": "no checkpoint in nowhere",
    "optim.ema_start=2": "EMA momentum",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_start_that_fails_writes_nothing(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("wandb", "tensorboard"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert train(tmp_path / "run", *words.split()) == 2
    assert REFUSED[words] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    assert train(tmp_path, "run.tensorboard=true", "run.steps=2") == 0
    (file,) = tmp_path.glob("events.out.tfevents.*")
    seen = [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    expected = [(row["step"], name, row[name]) for row in rows(tmp_path) for name in row if name != "step"]
    assert [one[:2] for one in seen] == [one[:2] for one in expected]
    assert [one[2] for one in seen] == pytest.approx([one[2] for one in expected], rel=1e-6)


def alone(cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment without traces of earlier runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCAL_", "WORLD_", "MASTER_"))}
    environment = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["launched by itself", "torchrun"])
def test_two_processes_do_the_work_of_one(launcher: list[str], finished: Path, tmp_path: Path) -> None:
    words = [*TINY, "run.batch_size=4", "run.devices=2", "run.strategy=ddp"]
    done = alone(tmp_path, *launcher, "-m", "worldjepa", "train", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    out = metrics.parent
    assert losses(out) == pytest.approx(losses(finished), abs=1e-5)
    assert [row["step"] for row in rows(out)] == [row["step"] for row in rows(finished)]
    assert column(out, "train/grad_norm") == pytest.approx(column(finished, "train/grad_norm"), rel=1e-4)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()}
    assert done.stdout.count("run folder:") == 1
    trained, single = tensors(out), tensors(finished)
    names = [name for name in single if not name.startswith("optimizer/")]
    assert max(float((trained[name] - single[name]).abs().max()) for name in names) < 1e-4


# PyTorch warns itself while it traces a block whose input is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_blocks_give_the_same_losses(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Block] = []

    def trace(self: Block, **options: object) -> None:
        # The compiler proper takes more than a minute here; tracing the blocks is our part, and happens all the same.
        compiled.append(self)
        torch.nn.Module.compile(self, backend="eager", **options)

    monkeypatch.setattr(Block, "compile", trace)
    assert train(tmp_path, "run.compile=true") == 0
    assert losses(tmp_path) == pytest.approx(losses(finished), rel=1e-4)
    assert len(compiled) == 3  # of encoder, predictor and target
