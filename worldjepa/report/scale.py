"""Where a number stands along an axis, and which numbers are written at it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from worldjepa.report.text import short


class Tick(NamedTuple):
    """A number written at an axis."""

    at: float
    label: str


@final
@dataclass(frozen=True)
class Scale:
    """Maps the numbers from `low` to `high` to pixels from `start` to `end`, by their logarithm if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number."""
        low, high, at = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether a number has a place: it is finite, and above 0 if logarithms are taken."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self, count: int = 5) -> list[Tick]:
        """About `count` round numbers along the axis."""
        values = _decades(self.low, self.high, count) if self.log else []
        if len(values) < 2:
            values = _even(self.low, self.high, count)
        return [Tick(self(value), label) for value, label in zip(values, _apart(values), strict=True)]


def _apart(values: Sequence[float]) -> list[str]:
    """Labels with as many digits as it takes to tell them apart."""
    labels: list[str] = []
    for digits in range(4, 18):
        labels = [short(value, digits) for value in values]
        if len(set(labels)) == len(values):
            break
    return labels


def spanning(values: Iterable[float], start: float, end: float, log: bool = False, room: float = 0.04) -> Scale:
    """A scale on which all of these numbers are, with a little room at both ends; what is not finite is passed over."""
    shown = [x for x in values if math.isfinite(x) and (x > 0 or not log)]
    low, high = (min(shown), max(shown)) if shown else (1.0, 10.0) if log else (0.0, 1.0)
    if log:
        low, high = math.log10(low), math.log10(high)
    if low == high:
        half = abs(low) / 2 or 0.5
        low, high = low - half, high + half
    low, high = low - room * (high - low), high + room * (high - low)
    return Scale(10**low, 10**high, start, end, True) if log else Scale(low, high, start, end)


def _even(low: float, high: float, count: int) -> Sequence[float]:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda one: abs(math.log(one / rough)))
    # Multiples, not sums, and rounded to the step's digits: 0.1 + 0.2 would be written 0.30000000000000004.
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decades(low: float, high: float, count: int) -> Sequence[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, round((last - first) / count))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [value for value in values if low <= value <= high]
