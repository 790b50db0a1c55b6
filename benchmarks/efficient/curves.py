"""What is made of accuracies on the way: when a target was reached, intervals over seeds, rows for a file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from worldjepa.evaluate.statistics import t_interval

AXES = ("seconds", "samples", "flops")


class Point(NamedTuple):
    """A run after some of its steps."""

    step: int
    samples: float
    seconds: float
    """Of training, on one processor core, without evaluation."""
    flops: float
    scores: dict[str, float]
    """Accuracy on the test split in percent, for each share of the labels."""


def reached(points: Sequence[Point], share: str, target: float, axis: str) -> float | None:
    """What it took to reach the target for the first time, linear between measurements; None if it was not reached."""
    before: Point | None = None
    for point in sorted(points):
        if point.scores[share] >= target:
            here = float(getattr(point, axis))
            if before is None:
                return here
            there = float(getattr(before, axis))
            return there + (here - there) * (target - before.scores[share]) / (
                point.scores[share] - before.scores[share]
            )
        before = point
    return None


def halfway(untrained: Sequence[float], finals: Sequence[Sequence[float]]) -> float:
    """The accuracy half-way between the untrained encoder and the best method, means over seeds: a target for all."""
    best = max(statistics.mean(values) for values in finals)
    return (statistics.mean(untrained) + best) / 2


def interval(values: Sequence[float], digits: int = 1) -> str:
    """The mean with Student's 95 % interval over seeds; of one seed its value, of none nothing."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    mean, low, high = (f"{value:.{digits}f}" for value in t_interval(values))
    return f"{mean} ({low} to {high})"


def until(values: Sequence[float | None], digits: int = 1) -> str:
    """What it took, of seeds of which some may never have got there: then only how many have."""
    there = [value for value in values if value is not None]
    if len(there) == len(values):
        return interval(there, digits)
    return "not reached" if not there else f"{len(there)} of {len(values)} seeds"


def rows(name: str, seed: int, points: Sequence[Point]) -> list[dict[str, float | int | str]]:
    """A curve as rows of a table: one for each measurement and share of the labels."""
    return [
        {"method": name, "seed": seed, **point._asdict(), "scores": share, "accuracy": value}
        for point in sorted(points)
        for share, value in point.scores.items()
    ]
