"""The numbers that a run has logged, whatever is left of them."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, final

_DAMAGED = (ValueError, RecursionError)
"""What Python's JSON reader says of text that is none, or that is nested to exhaust it."""
LAST_STEP = 1 << 53
"""What is said to be a step beyond this one is none."""
_LARGEST, _SMALLEST = 1e100, 1e-100
"""Between these numbers have a place on a chart; beyond, they count as not finite, or as 0."""


@final
@dataclass(frozen=True)
class Curve:
    """A number over ascending steps, NaN where it was not finite."""

    steps: list[int]
    values: list[float]

    @cached_property
    def finite(self) -> list[tuple[int, float]]:
        """The steps at which it was a number."""
        return [point for point in zip(self.steps, self.values, strict=True) if point[1] == point[1]]


class Log(NamedTuple):
    """All curves of a run by name, and how many lines could not be read."""

    curves: dict[str, Curve]
    damaged: int

    @property
    def step(self) -> int:
        """The last step that a number was logged for."""
        return max((curve.steps[-1] for curve in self.curves.values()), default=0)

    def last(self) -> dict[str, float]:
        """The newest finite number of every curve that has one after step 0."""
        return {name: found[-1][1] for name, curve in self.curves.items() if (found := curve.finite) and found[-1][0]}


def read_log(file: Path) -> Log:
    """Read `metrics.jsonl`. What was logged for a step twice counts as it was logged last.

    Raises:
        OSError: the file cannot be read.
    """
    found: dict[str, tuple[list[int], list[float]]] = {}
    damaged = 0
    for row in json_lines(file):
        step = row.get("step") if row is not None else None
        if row is None or not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= LAST_STEP:
            damaged += 1
            continue
        for name, value in row.items():
            kind = type(value)
            if (kind is float or kind is int or value is None) and name != "step":
                steps, values = found.setdefault(name, ([], []))
                steps.append(step)
                values.append(math.nan if value is None else value)  # type: ignore[arg-type]
    return Log({name: _curve(*points) for name, points in found.items()}, damaged)


def json_lines(file: Path) -> Iterator[dict[str, object] | None]:
    """The object of each line of a file, None for a line that holds none.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.strip():
                yield _object(line)


def parsed(text: str) -> object:
    """The value of a JSON text.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text)
    except _DAMAGED as error:
        raise ValueError(str(error)) from error


def drawable(value: float) -> float:
    """A number as a chart can show it."""
    if not -_LARGEST < value < _LARGEST:
        return math.nan
    return 0.0 if abs(value) < _SMALLEST else float(value)


def _object(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except _DAMAGED:
        return None
    return value if isinstance(value, dict) else None


def _curve(steps: list[int], values: list[float]) -> Curve:
    """The curve of what was logged, which may go back."""
    if any(map(operator.ge, steps, steps[1:])):
        last = dict(zip(steps, values, strict=True))
        steps = sorted(last)
        values = [last[step] for step in steps]
    return Curve(steps, [one if _SMALLEST < one < _LARGEST else drawable(one) for one in values])
