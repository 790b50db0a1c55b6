"""The curves of one run, or of several in one chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from worldjepa.report.folder import Run
from worldjepa.report.lines import MOST, LineChart, Series, thinned
from worldjepa.report.log import Curve
from worldjepa.report.naming import heading
from worldjepa.report.page import Part, Section
from worldjepa.report.palette import SERIES
from worldjepa.report.table import Words
from worldjepa.report.text import cut, said, short

LOSS = "Loss"
LEARNING = "Is it learning?"
PROBES = "Probes"
SCHEDULES = "Schedules"
SPEED = "Gradient and speed"
OTHER = "Other numbers"

_HOMES = {
    "train/loss": LOSS,
    "train/lr": SCHEDULES,
    "train/wd": SCHEDULES,
    "train/ema": SCHEDULES,
    "train/context_tokens": SCHEDULES,
    "train/target_tokens": SCHEDULES,
    "train/grad_norm": SPEED,
    "train/skipped": SPEED,
    "train/spikes": SPEED,
    "eval/prediction_ratio": LEARNING,
    "eval/prediction_loss": LEARNING,
    "eval/mean_baseline_loss": LEARNING,
}
"""The sections of metrics with a home of their own; the others go by their first word."""
_GROUPS = {"train": LOSS, "eval": PROBES, "collapse": LEARNING, "time": SPEED, "perf": SPEED, "system": SPEED}
_UNSHOWN = ("train/epoch",)
_COUNTS = ("train/skipped", "train/spikes")
"""Counts that are shown where they are not 0."""

MOST_CHARTS = 40
"""Of a page: metrics beyond are named."""
_WIDE = 20.0
"""A loss whose highest number is this many times its lowest has a logarithmic axis."""

Runs = Mapping[str, Run]
"""Runs by the names that they have on the page."""


def curves(runs: Runs) -> list[Section]:
    """A section for each kind of number that one of the runs has logged."""
    homes: dict[str, list[Part]] = {name: [] for name in (LOSS, LEARNING, PROBES, SCHEDULES, SPEED, OTHER)}
    names = [name for name in _logged(runs) if _worth(runs, name)]
    left_out: list[str] = []
    charted = 0
    for group in _together(names, runs):
        charts = list(_charts(group, runs)) if charted < MOST_CHARTS else []
        charted += len(charts)
        homes[home(group[0])] += charts
        left_out += [] if charts else group
    if left_out:
        told = ", ".join(cut(name) for name in left_out[:SERIES])
        homes[OTHER].append(Words(f"Not shown: {said(len(left_out), 'more curve')}, such as {told}."))
    return [Section(name, parts) for name, parts in homes.items() if parts]


def home(name: str) -> str:
    """The section that a metric is shown in."""
    return _HOMES.get(name) or _GROUPS.get(name.partition("/")[0], OTHER)


def _logged(runs: Runs) -> list[str]:
    """All metrics, those of a section in the order of `_HOMES`, then as they were logged."""
    names = dict.fromkeys(name for run in runs.values() for name in run.log.curves)
    first = [name for name in _HOMES if name in names]
    return [*first, *(name for name in names if name not in _HOMES and name not in _UNSHOWN)]


def _worth(runs: Runs, name: str) -> bool:
    """Whether a metric has a number to show."""
    found = [value for run in runs.values() if name in run.log.curves for _, value in run.log.curves[name].finite]
    return bool(found) and (name not in _COUNTS or any(found))


def _together(names: Sequence[str], runs: Runs) -> Iterator[list[str]]:
    """The metrics that share a chart: of one run, the terms of its loss do."""
    if len(runs) > 1:
        yield from ([name] for name in names)
        return
    (run,) = runs.values()
    terms = [name for name in names if home(name) == LOSS]
    if len(terms) == 2 and terms[0] == "train/loss" and run.log.curves[terms[0]] == run.log.curves[terms[1]]:
        terms = terms[:1]  # the loss has one term, which is itself
    yield from (terms[start : start + SERIES] for start in range(0, len(terms), SERIES))
    against = ["eval/prediction_loss", "eval/mean_baseline_loss"]
    if not set(against) <= set(names):
        against = []
    for name in names:
        if home(name) != LOSS and name not in against[1:]:
            yield against if name in against else [name]


def _charts(names: Sequence[str], runs: Runs) -> Iterator[LineChart]:
    """The charts of metrics that belong together: one, or with several runs one for each metric."""
    if len(runs) > 1:
        for name in names:
            yield _chart(heading(name), name, {label: run.log.curves.get(name) for label, run in runs.items()}, runs)
        return
    (run,) = runs.values()
    title = heading(names[0])
    if len(names) > 1:
        title = f"{title} and its terms" if names[0] == "train/loss" else ", ".join(map(heading, names[:2]))
    yield _chart(title, names[0], {heading(name): run.log.curves[name] for name in names}, runs)


def _chart(title: str, name: str, lines: Mapping[str, Curve | None], runs: Runs) -> LineChart:
    found = {label: curve for label, curve in lines.items() if curve is not None and curve.finite}
    series = [
        thinned(Series(cut(label), curve.steps, curve.values), max(40, MOST // len(found)))
        for label, curve in found.items()
    ]
    told = " ".join(_told(label, curve) for label, curve in found.items())
    axis = heading(name) if len(lines) == 1 or len(runs) > 1 else "loss"
    log = home(name) in (LOSS, SPEED) and _wide(list(found.values()))
    return LineChart(cut(_capital(title)), told, "step", cut(axis, 40), series, log, _references(name, runs))


def _told(label: str, curve: Curve) -> str:
    """A curve in words."""
    points = curve.finite
    (first, start), (last, end) = points[0], points[-1]
    at, lowest = min(points, key=lambda point: point[1])
    if first == last:
        return f"{label}: {short(start)} at step {first:,}."
    return f"{label}: {short(start)} at step {first:,}, {short(end)} at step {last:,}, lowest {short(lowest)} at step {at:,}."


def _wide(lines: Sequence[Curve]) -> bool:
    values = [value for curve in lines for _, value in curve.finite]
    return min(values) > 0 and max(values) / min(values) > _WIDE


def _references(name: str, runs: Runs) -> list[tuple[float, str]]:
    """What a curve is held against: baselines that all runs have in common."""
    constant = [(1.0, "predicting the mean")] if name == "eval/prediction_ratio" else []
    kinds = dict.fromkeys(kind for run in runs.values() for kind in run.baselines)
    found = []
    for kind in kinds:
        values = [run.baselines.get(kind, {}).get(name, math.nan) for run in runs.values()]
        if math.isfinite(values[0]) and all(math.isclose(value, values[0]) for value in values):
            found.append((values[0], cut(kind)))
    return [*constant, *found][:4]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
