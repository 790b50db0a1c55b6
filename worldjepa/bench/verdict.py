"""What is said of two models that were compared, for a browser and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldjepa.bench.compare import Comparison, Duel, told
from worldjepa.bench.tables import NAMES, decimals, number
from worldjepa.report.dots import Dot, DotChart
from worldjepa.report.page import Page, Part, Section
from worldjepa.report.table import Column, Table


def comparison(found: Comparison) -> Page:
    """What is said of two models."""
    first, second = found.names
    parts: list[Part] = [_duels(found)]
    for bits in (True, False):
        duels = [one for one in found.duels if one.bits == bits]
        if duels:
            parts.append(_duel_chart(duels, bits, found.names))
    sections = [Section("Task by task", parts)]
    if found.totals:
        sections.append(Section("Over tasks", [_totals(found)]))
    if found.refusals:
        rows = [(told(one.pair), one.reason) for one in found.refusals]
        table = Table("Not compared", (Column("", False), Column("why", False)), rows)
        sections.append(Section("What cannot be compared", [table]))
    lead = (
        f"Each test example's outcome, averaged over seeds, of {first} less that of {second}: above 0, {first} is better. In "
        "brackets 95 % by a paired bootstrap over test examples; p is two-sided, and after Holm that of all comparisons "
        "together. McNemar's p, where both have one seed, is exact. Over tasks, the bootstrap draws tasks and, within each, "
        "examples. How much another training of the same model would change is not part of it."
    )
    return Page(f"{first} against {second}", lead, sections)


def _duels(found: Comparison) -> Table:
    single = any(one.exact for one in found.duels)
    columns = (
        *(Column("", False), *map(Column, found.names), Column("difference"), Column("p"), Column("p after Holm")),
        *(*([Column("McNemar's p")] if single else []), Column("examples"), Column("seeds")),
    )
    rows = []
    for one in found.duels:
        metric = one.pair.metric
        means = [number(float(np.mean([x.score for x in side])), metric) for side in (one.first, one.second)]
        exact = "" if one.exact is None else f"{one.exact.p:.2g} ({one.exact.only_first} : {one.exact.only_second})"
        tests = (f"{one.difference.p:.2g}", f"{one.adjusted:.2g}", *([exact] if single else []))
        seeds = f"{len(one.first)} and {len(one.second)}"
        rows.append((f"{told(one.pair)}, {metric}", *means, _apart_by(one), *tests, str(len(one.apart)), seeds))
    return Table("Differences", columns, rows)


def _apart_by(one: Duel) -> str:
    mean, low, high, _ = one.difference
    said = [decimals(value, 1 if one.bits else 3, sign=True) for value in (mean, low, high)]
    return f"{said[0]} ({said[1]} to {said[2]})"


def _totals(found: Comparison) -> Table:
    columns = (
        *(Column("", False), Column("tasks"), Column(f"better: {found.names[0]}"), Column(f"better: {found.names[1]}")),
        *(Column("mean difference, points"), Column("p")),
    )
    rows = []
    for one in found.totals:
        mean, low, high, p = one.difference
        said = [decimals(value, 1, sign=True) for value in (mean, low, high)]
        apart = f"{said[0]} ({said[1]} to {said[2]})"
        rows.append((NAMES[one.probe], str(one.tasks), str(one.ahead), str(one.behind), apart, f"{p:.2g}"))
    return Table("Mean differences", columns, rows)


def _duel_chart(duels: Sequence[Duel], bits: bool, names: tuple[str, str]) -> DotChart:
    dots = [Dot(told(one.pair), *one.difference[:3], 0, _apart_by(one)) for one in duels]
    described = "; ".join(f"{dot.label} {dot.text}" for dot in dots)
    unit = "percentage points" if bits else "units of the metric"
    title = f"How much better {names[0]} is than {names[1]}"
    return DotChart(title, f"Differences with 95 % intervals. {described}.", unit, dots, (0.0, "no difference"))
