"""The report of a folder of results, for a browser and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from worldjepa.bench.aggregate import ORDER, Board, Variant, boards
from worldjepa.bench.record import Record
from worldjepa.bench.spending import ends, spending
from worldjepa.bench.standings import Overall, overall
from worldjepa.bench.tables import (
    NAMES,
    Origins,
    board_table,
    heading,
    notes,
    overall_table,
    percent,
    seeds_said,
    shown,
    spread,
)
from worldjepa.report.dots import Dot, DotChart
from worldjepa.report.page import Page, Part, Section
from worldjepa.report.table import Words

_COLOURS = dict.fromkeys(ORDER, 5) | {"trained": 0}
"""Models stand out from what they are compared with."""


def report(records: Sequence[Record], title: str) -> Page:
    """All that results say.

    Raises:
        UserError: two results cannot both be meant.
    """
    along = spending(records)
    records = ends(records)
    tables = boards(records)
    origins = Origins(records)
    variants = sorted({board.variant for board in tables})
    sections = [Section("Over tasks", _overall(overall(tables), variants))]
    sections += along
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
