"""The curves of one run, or of several in one chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worldjepa.report.folder import Run
from worldjepa.report.lines import MOST, LineChart, Series, thinned
from worldjepa.report.log import Curve
from worldjepa.report.naming import heading
from worldjepa.report.page import Fold, Part, Section
from worldjepa.report.palette import SERIES
from worldjepa.report.table import Words
from worldjepa.report.text import capital, cut, said, short

LEARNING = "Is it learning?"
PROBES = "Probes"
SCHEDULES = "Schedules"
SPEED = "Gradient and speed"
OTHER = "Other numbers"

_HOMES = {
    "train/loss": LEARNING,
    "eval/prediction_ratio": LEARNING,
    "collapse/rankme": LEARNING,
    "collapse/feature_std": LEARNING,
    "eval/prediction_loss": LEARNING,
    "eval/mean_baseline_loss": LEARNING,
    "train/lr": SCHEDULES,
    "train/wd": SCHEDULES,
    "train/ema": SCHEDULES,
    "train/context_tokens": SCHEDULES,
    "train/target_tokens": SCHEDULES,
    "train/grad_norm": SPEED,
    "train/skipped": SPEED,
    "train/spikes": SPEED,
}
"""The sections of metrics with a home of their own; the others go by their first word."""
_GROUPS = {"train": LEARNING, "eval": PROBES, "collapse": LEARNING, "time": SPEED, "perf": SPEED, "system": SPEED}
_UNSHOWN = ("train/epoch", "time/step")
"""What the steps and the samples a second say already."""
_PAIRS = (("eval/prediction_loss", "eval/mean_baseline_loss"), ("train/context_tokens", "train/target_tokens"))
"""Metrics that share a chart."""
_COUNTS = ("train/skipped", "train/spikes")
"""Counts that are shown where they are not 0."""

MOST_CHARTS = 40
"""Of a page: metrics beyond are named."""
_OPEN = 6
"""Charts of a section that stand there at once."""
_WIDE = 20.0
"""A loss whose highest number is this many times its lowest has a logarithmic axis."""

Runs = Mapping[str, Run]
"""Runs by the names that they have on the page."""


def curves(runs: Runs) -> list[Section]:
    """A section for each kind of number that one of the runs has logged."""
    names = [name for name in _logged(runs) if _worth(runs, name)]
    still = [name for name in names if _still(runs, name)]
    groups = list(_together([name for name in names if name not in still], runs))
    homes: dict[str, list[Part]] = {name: [] for name in (LEARNING, PROBES, SCHEDULES, SPEED, OTHER)}
    for group in groups[:MOST_CHARTS]:
        homes[home(group[0])].append(_chart(group, runs))
    for place, parts in homes.items():
        told = ", ".join(
            f"{cut(heading(name))} {_last(runs, name)}" for name in still[:MOST_CHARTS] if home(name) == place
        )
        parts += [Words(f"Constant, or logged once: {told}.")] if told else []
    left_out = [cut(heading(name)) for group in groups[MOST_CHARTS:] for name in group]
    if left_out:
        homes[OTHER].append(
            Words(f"Not shown: {said(len(left_out), 'more curve')}, such as {', '.join(left_out[:SERIES])}.")
        )
    return [Section(name, _folded(parts)) for name, parts in homes.items() if parts]


def _folded(parts: list[Part]) -> list[Part]:
    """A section whose parts from the seventh on are shown when they are asked for."""
    return parts if len(parts) <= _OPEN + 1 else [*parts[:_OPEN], Fold(f"{len(parts) - _OPEN} more", parts[_OPEN:])]


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
    found = [run.log.curves[name].finite for run in runs.values() if name in run.log.curves]
    return any(found) and (name not in _COUNTS or any(value for points in found for _, value in points))


def _still(runs: Runs, name: str) -> bool:
    """Whether a number needs no chart: a schedule that never moves, or what was logged once only."""
    curves = [run.log.curves[name] for run in runs.values() if name in run.log.curves]
    if home(name) == SCHEDULES:
        return len({value for curve in curves for value in curve.values}) == 1
    return all(len(curve.finite) < 2 for curve in curves)


def _last(runs: Runs, name: str) -> str:
    """The newest number of each run, once where runs agree."""
    found = [run.log.curves[name].finite for run in runs.values() if name in run.log.curves]
    return " or ".join(dict.fromkeys(short(points[-1][1]) for points in found if points))


def _together(names: Sequence[str], runs: Runs) -> Iterator[list[str]]:
    """The metrics that share a chart: of one run, the terms of its loss and pairs do."""
    if len(runs) > 1:
        yield from ([name] for name in names)
        return
    (run,) = runs.values()
    terms = [name for name in names if is_term(name)]
    if len(terms) == 2 and terms[0] == "train/loss" and run.log.curves[terms[0]] == run.log.curves[terms[1]]:
        terms = terms[:1]  # the loss has one term, which is itself
    yield from (terms[start : start + SERIES] for start in range(0, len(terms), SERIES))
    pairs = {pair[0]: list(pair) for pair in _PAIRS if set(pair) <= set(names)}
    seconds = [second for _, second in pairs.values()]
    yield from (pairs.get(name, [name]) for name in names if not is_term(name) and name not in seconds)


def is_term(name: str) -> bool:
    """Whether a metric is the loss or one of its terms."""
    return name.startswith("train/") and home(name) == LEARNING


def _chart(names: Sequence[str], runs: Runs) -> LineChart:
    """The chart of metrics of one run, or of one metric of several."""
    if len(runs) > 1:
        lines = {label: run.log.curves.get(names[0]) for label, run in runs.items()}
    else:
        (run,) = runs.values()
        lines = {heading(name): run.log.curves[name] for name in names}
    found = {label: curve for label, curve in lines.items() if curve is not None and curve.finite}
    series = [
        thinned(Series(cut(label), curve.steps, curve.values), max(40, MOST // len(found)))
        for label, curve in found.items()
    ]
    told = " ".join(_told(label, curve) for label, curve in found.items())
    references = _references(names[0], runs) if len(names) == 1 else []
    return LineChart(_title(names), told, "step", "", series, _wide(names[0], found.values()), references)


def _title(names: Sequence[str]) -> str:
    title = ", ".join(heading(name) for name in names)
    if names[0] == "train/loss" and len(names) > 1:
        title = "loss and its terms"
    return cut(capital(title), 100)


def _told(label: str, curve: Curve) -> str:
    """A curve in words."""
    points = curve.finite
    (first, start), (last, end) = points[0], points[-1]
    at, lowest = min(points, key=lambda point: point[1])
    if first == last:
        return f"{label}: {short(start)} at step {first:,}."
    return f"{label}: {short(start)} at step {first:,}, {short(end)} at step {last:,}, lowest {short(lowest)} at step {at:,}."


def _wide(name: str, curves: Iterable[Curve]) -> bool:
    """Whether a curve of loss or gradient needs a logarithmic axis."""
    if not is_term(name) and home(name) != SPEED:
        return False
    values = [value for curve in curves for _, value in curve.finite]
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
