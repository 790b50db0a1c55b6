"""How models stand over several tasks: normalised scores, ranks and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np

from worldjepa.bench.aggregate import ORDER, Board, Line, Variant
from worldjepa.bench.record import PROBES
from worldjepa.evaluate.statistics import nested

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Standing:
    """How a line does over several tasks."""

    label: str
    row: str
    mean: float
    low: float
    high: float
    rank: float | None
    borda: float | None
    """Points: 1 for each model that it beats on a task, 1/2 for each that it draws with. None for baselines."""


@final
@dataclass(frozen=True)
class Overall:
    """The standings of one probe, over the tasks that have every model."""

    probe: str
    tasks: tuple[Variant, ...]
    left_out: tuple[tuple[Variant, str], ...]
    """The other tasks, and why."""
    standings: tuple[Standing, ...]


def overall(tables: Sequence[Board], draws: int = 10_000) -> list[Overall]:
    """Standings for each probe that some task has, with intervals by a bootstrap over tasks and, within each, over seeds."""
    probes = sorted({board.probe for board in tables}, key=PROBES.index)
    return [_overall(probe, [board for board in tables if board.probe == probe], draws) for probe in probes]


def ranks(values: Sequence[float]) -> list[float]:
    """The place of each value, 1 for the highest; equal ones share the mean of their places."""
    return [
        1 + sum(other > one for other in values) + (sum(other == one for other in values) - 1) / 2 for one in values
    ]


def _overall(probe: str, tables: Sequence[Board], draws: int) -> Overall:
    models = sorted({line.models[0] for board in tables for line in board.of("trained")})
    reasons = {board.variant: _why_not(board, models) for board in tables}
    shared = [board for board in tables if not reasons[board.variant]]
    left_out = tuple((which, reason) for which, reason in reasons.items() if reason)
    standings: list[Standing] = []
    if shared and models:
        standings += _models(models, shared, draws)
        for row in ("raw input", "untrained", "supervised"):
            standings += _baseline(row, shared, draws)
        standings.sort(key=lambda one: ORDER.index(one.row))
    return Overall(probe, tuple(board.variant for board in shared), left_out, tuple(standings))


def _why_not(board: Board, models: Sequence[str]) -> str:
    """Why a task cannot be counted; empty if it can."""
    gone = [name for name in models if board.model(name) is None]
    if gone:
        return f"no result of {', '.join(gone)}"
    chance = board.of("chance")
    if len(chance) != 1:
        return "several rows of chance" if chance else "no row of chance"
    line = board.lines[0]
    return "" if board.normalised(line) is not None else f"the best possible {board.variant.metric} is not known"


def _models(models: Sequence[str], shared: Sequence[Board], draws: int) -> list[Standing]:
    lines = [[_there(board.model(name)) for board in shared] for name in models]
    signs = [1 if board.variant.higher_is_better else -1 for board in shared]
    places = np.array(
        [ranks([signs[task] * mine[task].mean() for mine in lines]) for task in range(len(shared))]
    )  # [tasks, models]
    result = []
    for index, name in enumerate(models):
        alone = len(models) == 1
        rank = None if alone else float(places[:, index].mean())
        borda = None if alone else float((len(models) - places[:, index]).sum())
        result.append(Standing(name, "trained", *_spread(shared, lines[index], draws), rank, borda))
    return result


def _baseline(row: str, shared: Sequence[Board], draws: int) -> list[Standing]:
    """The standing of a baseline that every task has; where models have one each, it is that of each model."""
    owners = sorted({line.models for board in shared for line in board.of(row)})
    whole = {}
    for models in owners:
        lines = [line for board in shared for line in board.of(row) if line.models == models]
        if len(lines) == len(shared):
            whole[models] = lines
    return [
        Standing(
            row if len(whole) == 1 else f"{row} ({', '.join(models)})", row, *_spread(shared, lines, draws), None, None
        )
        for models, lines in whole.items()
    ]


def _spread(shared: Sequence[Board], lines: Sequence[Line], draws: int) -> tuple[float, float, float]:
    """The mean normalised score of one line a task, and its interval."""
    groups = [_there(board.normalised(line)) for board, line in zip(shared, lines, strict=True)]
    found = nested(groups, draws=draws)
    return found.mean, found.low, found.high


def _there(value: T | None) -> T:
    assert value is not None  # `_why_not` has seen to it
    return value
