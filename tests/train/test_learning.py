"""A short training of the shipped quickstart model learns something, and the test that says so can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modalities.image import embedded
from worldjepa.cli import main
from worldjepa.targets import EMA
from worldjepa.types import Tokens

STEPS = 160

WORDS = [
    *("method=ijepa_vicreg", "data=patterns", "data.count=4000", f"run.steps={STEPS}", "run.threads=1"),
    *("run.workers=0", "run.accelerator=cpu", "run.tensorboard=false"),
]


@pytest.fixture(scope="module", autouse=True)
def small_splits(home: Path) -> Iterator[None]:
    """Fewer labelled images than come with the patterns: the probes need not be that exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 1500, "val": 500, "test": 1000})
        patch.setenv("WORLDJEPA_HOME", str(home.with_name("home of learning")))
        yield


def report(out: Path, *words: str) -> dict[str, Any]:
    """Train and return the final report."""
    assert main(["train", *WORDS, f"run.out={out}", *words]) == 0
    result: dict[str, Any] = json.loads((out / "report.json").read_text())
    return result


def shortcomings(result: dict[str, Any]) -> set[str]:
    """What a run did not learn.

    With seeds 0, 1 and 2 the linear probe gained 8.1, 7.0 and 8.0 points over the untrained encoder (42.9 to 46.6) and
    reached 51.0 to 53.6 where raw pixels give 13.3; the ratio fell from 1.9 or more to 0.93, 0.96 at most.
    """
    trained, baselines = result["trained"], result["baselines"]
    untrained, raw = baselines["untrained encoder"], baselines["raw input"]
    linear, ratio = "eval/linear_top1", "eval/prediction_ratio"
    wrong = {
        "linear probe": trained[linear] < untrained[linear] + 3.5,
        "raw pixels": trained[linear] < raw[linear] + 25,
        "prediction": trained[ratio] > 0.98,
        "prediction before": trained[ratio] > 0.6 * untrained[ratio],
    }
    return {name for name, is_wrong in wrong.items() if is_wrong}


def test_a_short_training_learns(tmp_path: Path) -> None:
    result = report(tmp_path)
    assert shortcomings(result) == set(), result


def test_without_a_learning_rate_nothing_is_learned(tmp_path: Path) -> None:
    still = ["optim.lr=1e-12", "optim.start_lr=0", "optim.final_lr=0", "optim.warmup_share=0", "run.steps=2"]
    result = report(tmp_path, *still, "probe.max_train=300", "probe.max_test=200")
    assert {"linear probe", "prediction", "prediction before"} <= shortcomings(result)


def test_unrelated_answers_cannot_be_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    related = EMA.forward

    def shuffled(self: EMA, *args: Any) -> list[Tokens]:
        answers = related(self, *args)
        return [Tokens(mixed(answer.x), answer.pos) for answer in answers]

    def mixed(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, 2)[torch.randperm(x[..., 0].numel())].view(x.shape)

    monkeypatch.setattr(EMA, "forward", shuffled)
    result = report(tmp_path, "probe.max_train=50", "probe.max_test=50")
    assert "prediction" in shortcomings(result)
