"""A chart of several series over the same axis, with bands around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from worldjepa.report.palette import SERIES
from worldjepa.report.scale import Scale, Tick, spanning
from worldjepa.report.table import Column
from worldjepa.report.text import short

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 48
REFERENCES = 4
"""How many numbers to compare with one chart can have."""
MOST = 200
"""Points that are drawn of a series: of more, the lowest and the highest of each stretch."""


@final
@dataclass(frozen=True)
class Series:
    """A line: y over ascending x, NaN where it has a gap, and perhaps a band from `low` to `high`."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None

    def __post_init__(self) -> None:
        assert (self.low is None) == (self.high is None), "a band has two edges"
        lengths = {len(one) for one in (self.x, self.y, self.low, self.high) if one is not None}
        assert len(lengths) == 1, f"a series needs as many x as y: {lengths}"
        assert all(math.isfinite(x) for x in self.x), "an x must be a number"
        assert all(a < b for a, b in zip(self.x, self.x[1:], strict=False)), "x must ascend"

    def taken(self, indices: Sequence[int]) -> Series:
        """The points at these places only."""
        x, y, low, high = (
            None if one is None else [one[i] for i in indices] for one in (self.x, self.y, self.low, self.high)
        )
        assert x is not None
        assert y is not None
        return Series(self.name, x, y, low, high)


class DrawnSeries(NamedTuple):
    """The outlines of a line and its band, as SVG writes them."""

    line: str
    band: str


class Read(NamedTuple):
    """What is read off a chart for one series at one x: as text, and where the point is."""

    text: str
    at: float | None


class Row(NamedTuple):
    """All that is read off at one x."""

    x: str
    at: float
    reads: list[Read]


class Drawn(NamedTuple):
    """A chart with everything in its place."""

    series: list[DrawnSeries]
    across: list[Tick]
    up: list[Tick]
    rows: list[Row]
    references: list[float | None]


@final
@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis; a person reads numbers off it with the pointer or a slider.

    Args:
        title: what is shown.
        description: what a person who cannot see it should know.
        x: what the axis across is, with its unit.
        y: what the axis upwards is; nothing if the title says it.
        series: at most `palette.SERIES`.
        log: whether the axis upwards is logarithmic; numbers of 0 and less are gaps then.
        references: at most `REFERENCES` numbers to compare with, as lines from left to right, and what they are.
    """

    title: str
    description: str
    x: str
    y: str
    series: Sequence[Series]
    log: bool = False
    references: Sequence[tuple[float, str]] = ()

    def __post_init__(self) -> None:
        assert 1 <= len(self.series) <= SERIES, f"a chart has 1 to {SERIES} series, not {len(self.series)}"
        assert len(self.references) <= REFERENCES
        assert all(math.isfinite(value) for value, _ in self.references), "a reference must be a number"

    def drawn(self) -> Drawn:
        """The chart's outlines, the numbers at its axes and what can be read off."""
        series = [thinned(one) for one in self.series]
        across = spanning([x for one in series for x in one.x], LEFT, WIDTH - RIGHT, room=0)
        heights = [y for one in series for part in (one.y, one.low, one.high) if part is not None for y in part]
        up = spanning([*heights, *(value for value, _ in self.references)], HEIGHT - BOTTOM, TOP, self.log)
        references = [up(value) if up.shows(value) else None for value, _ in self.references]
        drawn = [DrawnSeries(_line(one, across, up), _band(one, across, up)) for one in series]
        return Drawn(drawn, across.ticks(), up.ticks(), _rows(series, across, up), references)

    def columns(self) -> list[Column]:
        """The headings of the table of the numbers behind the chart."""
        return [Column(self.x), *(Column(one.name) for one in self.series)]


def thinned(series: Series, most: int = MOST) -> Series:
    """A series of at most `most` points that looks the same: of each stretch, the lowest, the highest and a gap stay."""
    n = len(series.x)
    if n <= most:
        return series
    kept = {0, n - 1}
    stretches = max(1, (most - 2) // 3)
    for k in range(stretches):
        stretch = range(k * n // stretches, (k + 1) * n // stretches)
        finite = [i for i in stretch if math.isfinite(series.y[i])]
        kept.update([i for i in stretch if not math.isfinite(series.y[i])][:1])
        if finite:
            kept.update((min(finite, key=lambda i: series.y[i]), max(finite, key=lambda i: series.y[i])))
    return series.taken(sorted(kept))


def _line(series: Series, across: Scale, up: Scale) -> str:
    """A path that is interrupted at gaps; a point alone is a line of no length, which round ends make a dot."""
    words = []
    pen = "M"
    for x, y in zip(series.x, series.y, strict=True):
        if up.shows(y):
            words.append(f"{pen}{across(x):.1f} {up(y):.1f}{'h0' if pen == 'M' else ''}")
            pen = "L"
        else:
            pen = "M"
    return "".join(words)


def _band(series: Series, across: Scale, up: Scale) -> str:
    """An outline for each stretch without gaps."""
    if series.low is None or series.high is None:
        return ""
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in zip(series.x, series.low, series.high, strict=True):
        if up.shows(low) and up.shows(high):
            stretches[-1].append((across(x), up(low), up(high)))
        elif stretches[-1]:
            stretches.append([])
    return "".join(_outline(stretch) for stretch in stretches if stretch)


def _outline(stretch: Sequence[tuple[float, float, float]]) -> str:
    there = [f"{x:.1f} {high:.1f}" for x, _, high in stretch]
    back = [f"{x:.1f} {low:.1f}" for x, low, _ in reversed(stretch)]
    return f"M{'L'.join([*there, *back])}Z"


def _rows(series: Sequence[Series], across: Scale, up: Scale) -> list[Row]:
    places = [{x: i for i, x in enumerate(one.x)} for one in series]
    rows = []
    for x in sorted(set().union(*places)):
        reads = [_read(one, place.get(x), up) for one, place in zip(series, places, strict=True)]
        rows.append(Row(short(x, 6), across(x), reads))
    return rows


def _read(series: Series, index: int | None, up: Scale) -> Read:
    if index is None:
        return Read("", None)
    y = series.y[index]
    band = ""
    if series.low is not None and series.high is not None:
        band = f" ({short(series.low[index])} to {short(series.high[index])})"
    return Read(short(y, 5) + band, up(y) if up.shows(y) else None)
