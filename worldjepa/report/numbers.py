"""The last numbers of runs, beside what they are compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from worldjepa.report.course import Course, duration
from worldjepa.report.curves import PROBES, Runs, home
from worldjepa.report.folder import Run, Scores
from worldjepa.report.naming import HEADLINE, LESS_IS_BETTER, heading
from worldjepa.report.table import Cell, Column, Strong, Table
from worldjepa.report.text import capital, cut, short

_MEASURED = ("eval/", "collapse/")
MOST = 60
"""Rows of a table."""


def headline(scores: Scores) -> str | None:
    """The metric that is named first."""
    probes = (name for name in scores if home(name) == PROBES)
    return next((name for name in (*HEADLINE[:2], *probes, *HEADLINE[2:]) if name in scores), None)


def main_number(run: Run) -> str | None:
    """The first number of a run and its baselines in a sentence; None if nothing was measured."""
    name = headline(run.trained)
    if name is None:
        return None
    value = run.trained[name]
    others = {kind: scores[name] for kind, scores in run.baselines.items() if math.isfinite(scores.get(name, math.nan))}
    against = "; ".join(f"{cut(kind)} {short(one)}" for kind, one in reversed(others.items()))
    head, percent, _ = heading(name).partition(", %")
    told = f"{head}: {short(value)}{' %' if percent else ''}"
    if name == "eval/prediction_ratio":
        told += " (1 would be predicting the mean)"
    first = run.untrained.get(name, math.nan)
    if math.isfinite(first) and _measured(name) and run.log.step > 0 and _worse(name, value, first):
        told += ", which is no better than the untrained encoder"
    told += f". For comparison: {against}." if against else "."
    return capital(told)


def _worse(name: str, value: float, first: float) -> bool:
    return value >= first if name in LESS_IS_BETTER else value <= first


def _measured(name: str) -> bool:
    return name.startswith(_MEASURED) and not name.startswith("collapse/")


def scores_table(run: Run) -> Table | None:
    """All that was measured of the encoder, beside its baselines; None if nothing was."""
    trained = run.trained
    known = (*trained, *(name for scores in run.baselines.values() for name in scores))
    names = [name for name in dict.fromkeys(known) if name.startswith(_MEASURED)]
    if not names:
        return None
    kinds = [kind for kind, found in run.baselines.items() if found][:8][::-1]
    columns = (Column("", False), Column("trained"), *(Column(cut(kind)) for kind in kinds))
    rows: list[tuple[Cell, ...]] = []
    for name in names[:MOST]:
        others = (run.baselines[kind].get(name, math.nan) for kind in kinds)
        rows.append((cut(heading(name)), Strong(short(trained.get(name, math.nan))), *map(short, others)))
    return Table("The encoder, measured", columns, rows)


def compared(runs: Runs) -> Table | None:
    """The last numbers of several runs beside each other; None if none were measured."""
    names = dict.fromkeys(name for run in runs.values() for name in run.trained if _told(name))
    rows: list[tuple[Cell, ...]] = []
    for name in list(names)[:MOST]:
        rows.append((cut(heading(name)), *(_beside(run, name) for run in runs.values())))
    columns = (Column("", False), *(Column(cut(label)) for label in runs))
    return Table("The last numbers; in brackets those of the untrained encoder", columns, rows) if rows else None


def _told(name: str) -> bool:
    return name.startswith((*_MEASURED, "perf/", "system/")) or name == "train/loss"


def _beside(run: Run, name: str) -> str:
    value, first = (scores.get(name, math.nan) for scores in (run.trained, run.untrained))
    return f"{short(value)} ({short(first)})" if math.isfinite(first) else short(value)


def courses(found: Mapping[str, Course]) -> Table:
    """How far each of several runs came."""
    rows = [
        (
            cut(label),
            one.state,
            f"{one.step:,}{f' of {one.steps:,}' if one.steps else ''}",
            duration(one.seconds) if one.seconds else "–",
        )
        for label, one in found.items()
    ]
    return Table(
        "Runs", (Column("run", False), Column("how it went", False), Column("steps"), Column("training")), rows
    )
