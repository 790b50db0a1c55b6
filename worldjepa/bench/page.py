"""The report of a folder of results, for a browser and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldjepa.bench.aggregate import ORDER, Board, Variant, boards
from worldjepa.bench.compare import Comparison, Duel, told
from worldjepa.bench.record import Record
from worldjepa.bench.standings import Overall, overall
from worldjepa.bench.tables import (
    NAMES,
    Origins,
    board_table,
    heading,
    notes,
    number,
    overall_table,
    percent,
    seeds_said,
    shown,
    spread,
)
from worldjepa.report.dots import Dot, DotChart
from worldjepa.report.page import Page, Part, Section
from worldjepa.report.table import Column, Table, Words

_COLOURS = dict.fromkeys(ORDER, 5) | {"trained": 0}
"""Models stand out from what they are compared with."""


def report(records: Sequence[Record], title: str) -> Page:
    """All that results say.

    Raises:
        UserError: two results cannot both be meant.
    """
    tables = boards(records)
    origins = Origins(records)
    variants = sorted({board.variant for board in tables})
    sections = [Section("Over tasks", _overall(overall(tables), variants))]
    sections += [_task(which, variants, tables, origins) for which in variants]
    sections.append(Section("How these numbers were made", [origins.listed()]))
    return Page(title, f"{_counted(records, variants)} {seeds_said()}", sections)


def _counted(records: Sequence[Record], variants: Sequence[Variant]) -> str:
    models = {record.model for record in records if record.row == "trained"}
    tasks = {(one.task, one.factor) for one in variants}
    counts = ((len(records), "result"), (len(models), "model"), (len(tasks), "task"))
    results, of_models, on_tasks = (f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)
    return f"{results} of {of_models} on {on_tasks}."


def _task(which: Variant, variants: Sequence[Variant], tables: Sequence[Board], origins: Origins) -> Section:
    parts: list[Part] = []
    charts: list[Part] = []  # behind the tables, where two have room beside each other
    twins = [one for one in variants if one != which and (one.task, one.factor) == (which.task, which.factor)]
    if twins:
        others = ", ".join(_apart(which, one) for one in twins)
        parts.append(Words(f"Not to be compared with the other table of this task: {others}.", warning=True))
    for board in tables:
        if board.variant == which:
            parts += [board_table(board, origins), *notes(board)]
            charts.append(_chart(board))
    parts += charts
    return Section(f"{heading(which, variants)}, {which.modality}", parts)


def _apart(which: Variant, other: Variant) -> str:
    """What keeps two variants of a task apart."""
    if which.version != other.version:
        return f"version {other.version} of the task"
    if which.examples != other.examples:
        return f"other test examples ({other.examples[:8]})"
    return f"another metric ({other.metric})"


def _chart(board: Board) -> DotChart:
    metric = board.variant.metric
    chance = board.of("chance")
    dots = []
    for line in board.lines:
        if line.row != "chance" or len(chance) > 1:
            value = line.score()
            dots.append(
                Dot(board.label(line), value.mean, value.low, value.high, _COLOURS[line.row], shown(board, line))
            )
    reference = (chance[0].mean(), "chance") if len(chance) == 1 else None
    axis = f"{metric}, %" if percent(metric) else metric
    described = "; ".join(f"{dot.label} {dot.text}" for dot in dots)
    title = f"{board.variant.task}: {NAMES[board.probe]}"
    return DotChart(title, f"Dots with 95 % intervals over seeds. {described}.", axis, dots, reference)


def _overall(found: Sequence[Overall], variants: Sequence[Variant]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Mean over tasks of the normalised score; in brackets 95 % by a bootstrap over tasks and, within each, seeds. "
            "Rank and points (1 for each model beaten on a task, ½ for a draw) are among the models."
        )
    ]
    for one in found:
        if one.standings:
            parts.append(overall_table(one))
            if len(one.tasks) == 1:
                parts.append(Words("With one task, the interval is over seeds alone."))
        if one.left_out:
            reasons = "; ".join(f"{heading(which, variants)}: {reason}" for which, reason in one.left_out)
            parts.append(Words(f"Not counted for {NAMES[one.probe]}: {reasons}.", warning=True))
    return [*parts, *(_standings_chart(one) for one in found if one.standings)]


def _standings_chart(one: Overall) -> DotChart:
    dots = [
        Dot(standing.label, standing.mean, standing.low, standing.high, _COLOURS[standing.row], spread(standing))
        for standing in one.standings
    ]
    described = "; ".join(f"{dot.label} {dot.text}" for dot in dots)
    return DotChart(
        f"Over tasks: {NAMES[one.probe]}",
        f"Normalised scores with 95 % intervals. {described}.",
        "normalised score (0 chance, 1 best possible)",
        dots,
    )


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
    digits = 1 if one.bits else 3
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _totals(found: Comparison) -> Table:
    columns = (
        *(Column("", False), Column("tasks"), Column(f"better: {found.names[0]}"), Column(f"better: {found.names[1]}")),
        *(Column("mean difference, points"), Column("p")),
    )
    rows = []
    for one in found.totals:
        mean, low, high, p = one.difference
        spread_ = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        rows.append((NAMES[one.probe], str(one.tasks), str(one.ahead), str(one.behind), spread_, f"{p:.2g}"))
    return Table("Mean differences", columns, rows)


def _duel_chart(duels: Sequence[Duel], bits: bool, names: tuple[str, str]) -> DotChart:
    dots = [Dot(told(one.pair), *one.difference[:3], 0, _apart_by(one)) for one in duels]
    described = "; ".join(f"{dot.label} {dot.text}" for dot in dots)
    unit = "percentage points" if bits else "units of the metric"
    title = f"How much better {names[0]} is than {names[1]}"
    return DotChart(title, f"Differences with 95 % intervals. {described}.", unit, dots, (0.0, "no difference"))
