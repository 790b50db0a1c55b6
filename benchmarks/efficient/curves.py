"""What is made of accuracies on the way: when a target was reached, intervals over seeds, rows for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worldjepa.bench import curves
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
    ordered = sorted(points)
    costs = [float(getattr(point, axis)) for point in ordered]
    return curves.reached(costs, [point.scores[share] for point in ordered], target)


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
