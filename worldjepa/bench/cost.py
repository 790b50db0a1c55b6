"""What a run had cost after each of its steps: seconds from its log, samples, and operations counted on its own model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from worldjepa.errors import UserError
from worldjepa.evaluate.arithmetic import per_sample
from worldjepa.train.build import build_model, build_sampler, build_source

LOG = "metrics.jsonl"


class Stretch(NamedTuple):
    """The steps between two rows of a log."""

    last: int
    """The step that the row is about."""
    seconds: float
    """Of each step, as the clock on the wall tells it, measurements and checkpoints left out."""
    samples: float
    """Of each step, over all processes."""


class Spent(NamedTuple):
    """What training had cost after a step."""

    seconds: float
    samples: float


def read_log(folder: Path) -> list[Stretch]:
    """What the log of a run says of its steps.

    Raises:
        UserError: there is no log, or it is damaged.
    """
    file = folder / LOG
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        timed = [row for row in rows if "time/step" in row]
        return [_stretch(row) for row in timed]
    except OSError as error:
        raise UserError(f"what training cost is read from {file}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is no log of a run: {error}") from error


def _stretch(row: Mapping[str, Any]) -> Stretch:
    seconds = float(row["time/step"])
    return Stretch(int(row["step"]), seconds, round(seconds * float(row["perf/samples_per_s"])))


def spent(log: Sequence[Stretch], step: int, where: str) -> Spent:
    """What the first steps cost; within a stretch of the log all steps count the same.

    Raises:
        UserError: the log ends before.
    """
    seconds = samples = 0.0
    before = 0
    for stretch in log:
        steps = min(step, stretch.last) - before
        seconds += steps * stretch.seconds
        samples += steps * stretch.samples
        before = min(step, stretch.last)
        if before == step:
            return Spent(seconds, samples)
    if step == 0:
        return Spent(0.0, 0.0)
    raise UserError(f"{where} has a checkpoint after {step} steps, but its log {LOG} ends after {before}")


def operations(config: DictConfig) -> float:
    """Operations in products and convolutions that a run's training takes for a sample, forward and backward, of all its parts.

    Raises:
        UserError: its data are not there, or it learns what is not counted.
    """
    observations = build_source(config).train()
    model = build_model(config, 1, observations)
    if model.above is not None:
        raise UserError(
            "the arithmetic of levels= is not counted: suites that measure along a run are for runs without"
        )
    return per_sample(model, build_sampler(config), observations, int(config.run.batch_size)).total
