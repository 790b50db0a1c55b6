"""When a curve of scores over what they cost reached a target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def reached(costs: Sequence[float], scores: Sequence[float], target: float) -> float | None:
    """What it took to reach the target for the first time, linear between measurements; None if it was not reached.

    Args:
        costs: ascending.
        scores: what was measured at each; more is better.
        target: the score.
    """
    for place, (here, score) in enumerate(zip(costs, scores, strict=True)):
        if score >= target:
            if place == 0:
                return here
            there, before = costs[place - 1], scores[place - 1]
            return there + (here - there) * (target - before) / (score - before)
    return None


def halfway(untrained: Sequence[float], finals: Sequence[Sequence[float]]) -> float:
    """The score half-way between the untrained encoder and the best of all, means over seeds: a target for all."""
    best = max(statistics.mean(values) for values in finals)
    return (statistics.mean(untrained) + best) / 2
