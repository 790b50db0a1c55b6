"""A short real training learns, and a training that cannot learn does not pass for one."""

from __future__ import annotations

import json
from pathlib import Path

from worldjepa.cli import main

SHORT = [
    *("method=ijepa_vicreg", "run.threads=1", "run.tensorboard=false", "run.eval_every=null"),
    *("probe.max_train=2000", "probe.max_test=1500", "run.log_every=50"),
]


def learned(out: Path, *words: str) -> bool:
    """Whether the probe gained on the untrained encoder and on raw pixels, and the predictor beats the mean."""
    assert main(["train", *SHORT, *words, f"run.out={out}"]) == 0
    report = json.loads((out / "report.json").read_text())
    trained, untrained = report["trained"], report["baselines"]["untrained encoder"]
    raw = report["baselines"]["raw input"]
    probe = "eval/linear_top1"
    # Measured with these settings: +12 points after 150 steps; an untrained encoder against itself gives 0.
    return bool(
        trained[probe] > untrained[probe] + 5
        and trained[probe] > raw[probe] + 25
        and trained["eval/prediction_ratio"] < 0.6 * untrained["eval/prediction_ratio"]
    )


def test_a_short_training_learns(tmp_path: Path) -> None:
    assert learned(tmp_path / "run", "run.steps=150")


def test_a_training_that_cannot_learn_is_found_out(tmp_path: Path) -> None:
    still = ["optim.lr=1e-9", "optim.start_lr=1e-9", "optim.final_lr=1e-9"]
    assert not learned(tmp_path / "run", "run.steps=5", *still)
