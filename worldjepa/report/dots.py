"""A chart of numbers with their intervals, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from worldjepa.report.palette import SERIES
from worldjepa.report.scale import Tick, spanning
from worldjepa.report.table import Column, Table
from worldjepa.report.text import clean, short

WIDTH, ROW, BELOW = 420, 40, 44
_MARGIN = 10
_LETTERS = 44
"""So many letters fit beside each other."""


@final
@dataclass(frozen=True)
class Dot:
    """One line of the chart."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    series: int = 0
    """Which of the palette's colours it has."""
    text: str = ""
    """What is written beside it; by default its numbers."""


class DrawnDot(NamedTuple):
    """Where a line's parts stand."""

    dot: Dot
    label: str
    text: str
    y: float
    x: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class DotChart:
    """Dots with whiskers, under each other.

    Args:
        title: what is shown.
        description: what a person who cannot see it should know.
        axis: what the numbers are, with their unit.
        dots: from top to bottom.
        reference: a number to compare all others with, as a line from top to bottom, and what it is.
    """

    title: str
    description: str
    axis: str
    dots: Sequence[Dot]
    reference: tuple[float, str] | None = None

    def __post_init__(self) -> None:
        for dot in self.dots:
            assert 0 <= dot.series < SERIES
            assert (dot.low is None) == (dot.high is None)

    @property
    def height(self) -> int:
        """In the chart's own pixels."""
        return ROW * len(self.dots) + BELOW

    def drawn(self) -> tuple[list[DrawnDot], list[Tick], float | None]:
        """The lines, the numbers at the axis, and where the reference is."""
        values = [x for dot in self.dots for x in (dot.value, dot.low, dot.high) if x is not None]
        scale = spanning(
            [*values, *([self.reference[0]] if self.reference else [])], _MARGIN, WIDTH - _MARGIN, room=0.02
        )
        lines = []
        for index, dot in enumerate(self.dots):
            text = dot.text or _said(dot)
            ends = (dot.value if end is None else end for end in (dot.low, dot.high))
            x, low, high = (scale(at) for at in (dot.value, *ends))
            room = _LETTERS - len(text)
            lines.append(DrawnDot(dot, _cut(clean(dot.label), room), text, ROW * index, x, low, high))
        return lines, scale.ticks(), None if self.reference is None else scale(self.reference[0])

    def table(self) -> Table:
        """The numbers behind the chart."""
        columns = (Column("", False), Column(self.axis), Column("low"), Column("high"))
        rows = [
            (dot.label, short(dot.value), *("–" if x is None else short(x) for x in (dot.low, dot.high)))
            for dot in self.dots
        ]
        if self.reference:
            rows.append((self.reference[1], short(self.reference[0]), "–", "–"))
        return Table(self.title, columns, rows)


def _said(dot: Dot) -> str:
    if dot.low is None or dot.high is None:
        return short(dot.value)
    return f"{short(dot.value)} ({short(dot.low)} to {short(dot.high)})"


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
