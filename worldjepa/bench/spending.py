"""Accuracy against what training cost: curves of runs that were measured on their way, and when they reached a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worldjepa.bench.aggregate import Board, boards
from worldjepa.bench.curves import halfway, reached
from worldjepa.bench.record import COSTS, Record
from worldjepa.bench.tables import NAMES, decimals, number, percent
from worldjepa.report.lines import LineChart, Series
from worldjepa.report.page import Part, Section
from worldjepa.report.palette import SERIES
from worldjepa.report.table import Cell, Column, Table, Words

SIGN = "@"
"""Between the name of a run and the step of a checkpoint."""
AXES = {"seconds": "seconds of training", "samples": "samples", "flops": "operations, 10^12"}
"""What each cost is called."""
UNITS = {"seconds": 1.0, "samples": 1.0, "flops": 1e12}


class Point(NamedTuple):
    """A run after some of its steps."""

    step: int
    cost: dict[str, float]
    score: float
    """Mean over seeds of the probe."""


class Curve(NamedTuple):
    """A run on one task by one probe; the first point is its untrained encoder, where that was measured."""

    name: str
    points: list[Point]


def run_of(record: Record) -> str:
    """The run that a checkpoint belongs to."""
    return record.model.rpartition(SIGN)[0]


def ends(records: Sequence[Record]) -> list[Record]:
    """All but what belongs to checkpoints that are followed by a later one of the same run."""
    ways = [record for record in records if record.cost and record.steps is not None]
    last: dict[str, int] = {}
    for record in ways:
        last[run_of(record)] = max(last.get(run_of(record), 0), record.steps or 0)
    passed = {record.model for record in ways if record.steps != last[run_of(record)]}
    return [record for record in records if record.model not in passed]


def spending(records: Sequence[Record]) -> list[Section]:
    """A section for each task whose records tell what training had cost; none where none does."""
    sections: dict[str, list[Part]] = {}
    for board in boards(records):
        curves = _curves(board)
        if any(len(one.points) > 1 for one in curves):
            sections.setdefault(board.variant.task, []).extend(_parts(board, curves))
    return [Section(f"{task}: against what training cost", parts) for task, parts in sections.items()]


def _curves(board: Board) -> list[Curve]:
    found: dict[str, list[Point]] = {}
    for line in board.of("trained"):
        first = line.records[0]
        if first.cost and first.steps is not None:
            found.setdefault(run_of(first), []).append(Point(first.steps, first.cost, line.mean()))
    curves = []
    for name, points in found.items():
        begun = [line for line in board.of("untrained") if any(one.startswith(f"{name}{SIGN}") for one in line.models)]
        start = [Point(0, dict.fromkeys(COSTS, 0.0), begun[0].mean())] if begun else []
        curves.append(Curve(name, [*start, *sorted((one for one in points if one.step > 0), key=lambda one: one.step)]))
    return curves


def _parts(board: Board, curves: Sequence[Curve]) -> list[Part]:
    metric = board.variant.metric
    parts: list[Part] = [_ends(board, curves)]
    sign = 1 if board.variant.higher_is_better else -1
    starts = [sign * one.points[0].score for one in curves if one.points[0].step == 0]
    if starts:
        target = halfway(starts, [[sign * one.points[-1].score] for one in curves])
        parts.append(_targets(board, curves, sign * target, sign))
    else:
        parts.append(Words("No target without an untrained encoder to measure it from."))
    unit = f"{metric}, %" if percent(metric) else metric
    for axis, called in AXES.items():
        for first in range(0, len(curves), SERIES):
            some = curves[first : first + SERIES]
            series = [
                Series(one.name, [p.cost[axis] / UNITS[axis] for p in one.points], [p.score for p in one.points])
                for one in some
            ]
            told = "; ".join(f"{one.name} ends at {number(one.points[-1].score, metric)}" for one in some)
            title = f"{board.variant.task}: {NAMES[board.probe]} against {called}"
            parts.append(LineChart(title, f"Scores of saved checkpoints. {told}.", called, unit, series))
    return parts


def _ends(board: Board, curves: Sequence[Curve]) -> Table:
    metric = board.variant.metric
    unit = f"{metric}, %" if percent(metric) else metric
    columns = (Column("", False), Column("untrained"), Column(unit), Column("steps"), *map(Column, AXES.values()))
    rows: list[Sequence[Cell]] = []
    for one in curves:
        first, last = one.points[0], one.points[-1]
        start = number(first.score, metric) if first.step == 0 else ""
        rows.append(
            (one.name, start, number(last.score, metric), f"{last.step:,}", *(_told(last.cost[a], a) for a in AXES))
        )
    return Table(f"{board.variant.task}: {NAMES[board.probe]}, whole runs", columns, rows)


def _targets(board: Board, curves: Sequence[Curve], target: float, sign: int) -> Table:
    columns = (Column("", False), *map(Column, AXES.values()))
    rows: list[Sequence[Cell]] = []
    for one in curves:
        scores = [sign * point.score for point in one.points]
        took = [reached([point.cost[axis] for point in one.points], scores, sign * target) for axis in AXES]
        told = ["not reached" if value is None else _told(value, axis) for value, axis in zip(took, AXES, strict=True)]
        rows.append((one.name, *told))
    what = number(target, board.variant.metric)
    unit = " %" if percent(board.variant.metric) else ""
    title = f"{board.variant.task}: {NAMES[board.probe]}, to {what}{unit}, half-way from untrained to the best"
    return Table(title, columns, rows)


def _told(value: float, axis: str) -> str:
    return f"{value:,.0f}" if axis == "samples" else decimals(value / UNITS[axis], 1 if axis == "seconds" else 2)
