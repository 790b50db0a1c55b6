"""Whether one model is better than another: example by example on the same test examples, task by task and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from worldjepa.bench.aggregate import Variant, variant
from worldjepa.bench.record import PROBES, Record, unpack
from worldjepa.errors import UserError
from worldjepa.evaluate.statistics import Difference, Disagreement, mcnemar, nested, paired

EQUAL = 1e-9
"""Percentage points that are no difference, but what rounding leaves of one."""


class Pair(NamedTuple):
    """What is compared: a probe on a task."""

    task: str
    factor: str
    metric: str
    probe: str


@final
@dataclass(frozen=True)
class Duel:
    """Two models on the same test examples."""

    pair: Pair
    variant: Variant
    first: tuple[Record, ...]
    second: tuple[Record, ...]
    bits: bool
    """Whether each example was right or wrong; the difference is in percentage points then."""
    apart: NDArray[np.float64]
    """For each example, how much better the first did, on average over its seeds."""
    difference: Difference
    adjusted: float
    """p after Holm, for as many comparisons as are made."""
    exact: Disagreement | None
    """McNemar's test, where both have one seed."""


class Refusal(NamedTuple):
    """A comparison that cannot be made, and why."""

    pair: Pair
    reason: str


@final
@dataclass(frozen=True)
class Total:
    """One probe over all tasks whose examples are right or wrong."""

    probe: str
    tasks: int
    ahead: int
    """Tasks on which the first model has the higher mean."""
    behind: int
    difference: Difference


@final
@dataclass(frozen=True)
class Comparison:
    """All that can be said of two models."""

    names: tuple[str, str]
    duels: tuple[Duel, ...]
    refusals: tuple[Refusal, ...]
    totals: tuple[Total, ...]


def compare(
    names: tuple[str, str], first: Sequence[Record], second: Sequence[Record], draws: int = 10_000
) -> Comparison:
    """Compare the results of two models.

    Args:
        names: what they are called.
        first: the results of one.
        second: those of the other.
        draws: of each bootstrap.

    Raises:
        UserError: nothing can be compared; the message says why.
    """
    ours, theirs = _sorted(first), _sorted(second)
    pairs = sorted(ours.keys() | theirs.keys(), key=lambda one: (one[:3], PROBES.index(one.probe)))
    found = [one for pair in pairs for one in _meet(pair, names, ours.get(pair, []), theirs.get(pair, []), draws)]
    duels = [one for one in found if isinstance(one, Duel)]
    refusals = [one for one in found if isinstance(one, Refusal)]
    if not duels:
        reasons = "; ".join(f"{told(one.pair)}: {one.reason}" for one in refusals) or "there are no results"
        raise UserError(f"'{names[0]}' and '{names[1]}' cannot be compared: {reasons}")
    return Comparison(names, _holm(duels), tuple(refusals), _totals(duels, draws))


def told(pair: Pair) -> str:
    """A pair in words."""
    factor = f", {pair.factor}" if pair.factor and pair.factor not in pair.task else ""
    return f"{pair.task}{factor} by {pair.probe}"


def _sorted(records: Sequence[Record]) -> dict[Pair, list[Record]]:
    found: dict[Pair, list[Record]] = {}
    for record in records:
        pair = Pair(record.task, record.factor or "", record.metric, record.probe)
        found.setdefault(pair, []).append(record)
    return found


def _meet(
    pair: Pair, names: tuple[str, str], first: Sequence[Record], second: Sequence[Record], draws: int
) -> list[Duel | Refusal]:
    """Everything of a pair that both have."""
    if not first or not second:
        return [Refusal(pair, f"'{names[1] if first else names[0]}' has no result")]
    ours, theirs = _by_variant(first), _by_variant(second)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return [Refusal(pair, _differ([*ours], [*theirs]))]
    return [_duel(pair, which, names, ours[which], theirs[which], draws) for which in shared]


def _by_variant(records: Sequence[Record]) -> dict[Variant, list[Record]]:
    found: dict[Variant, list[Record]] = {}
    for record in records:
        found.setdefault(variant(record), []).append(record)
    return found


def _differ(first: Sequence[Variant], second: Sequence[Variant]) -> str:
    """Why two results of the same task cannot be set against each other."""
    ours, theirs = ({one.version for one in side} for side in (first, second))
    if not ours & theirs:
        return f"the versions of the task differ: {_listed(ours)} and {_listed(theirs)}"
    if not {one.examples for one in first} & {one.examples for one in second}:
        return f"the test examples differ: {first[0].examples[:8]}… and {second[0].examples[:8]}…"
    return "they do not agree on what the metric is"


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _duel(
    pair: Pair, which: Variant, names: tuple[str, str], first: list[Record], second: list[Record], draws: int
) -> Duel | Refusal:
    silent = [name for name, mine in zip(names, (first, second), strict=True) if any(not one.correct for one in mine)]
    if silent:
        return Refusal(pair, f"the results of {' and '.join(silent)} hold no outcomes of single examples")
    kinds = {str(one.correct["kind"]) for one in (*first, *second) if one.correct}
    outcomes = [[unpack(one) for one in mine] for mine in (first, second)]
    lengths = sorted({len(one) for mine in outcomes for one in mine})
    if len(kinds) > 1:
        return Refusal(pair, f"the outcomes are of different kinds: {', '.join(sorted(kinds))}")
    if len(lengths) > 1 or not lengths[0]:
        return Refusal(pair, f"the numbers of outcomes do not fit: {', '.join(map(str, lengths))}")
    bits = kinds == {"bits"}
    unit = (100.0 if bits else 1.0) * (1 if which.higher_is_better else -1)
    ours, theirs = (unit * np.mean(mine, axis=0) for mine in outcomes)
    single = bits and len(first) == len(second) == 1
    return Duel(
        pair,
        which,
        tuple(first),
        tuple(second),
        bits,
        ours - theirs,
        paired(ours, theirs, draws=draws),
        1.0,
        mcnemar(outcomes[0][0] > 0, outcomes[1][0] > 0) if single else None,
    )


def _holm(duels: Sequence[Duel]) -> tuple[Duel, ...]:
    """The duels with p as it is among so many of them.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    order = sorted(range(len(duels)), key=lambda i: duels[i].difference.p)
    adjusted = dict.fromkeys(order, 0.0)
    reached = 0.0
    for place, index in enumerate(order):
        reached = max(reached, min(1.0, (len(duels) - place) * duels[index].difference.p))
        adjusted[index] = reached
    return tuple(replace(one, adjusted=adjusted[index]) for index, one in enumerate(duels))


def _totals(duels: Sequence[Duel], draws: int) -> tuple[Total, ...]:
    totals = []
    for probe in PROBES:
        here = [one for one in duels if one.pair.probe == probe and one.bits]
        if len(here) > 1:
            means = [one.difference.mean for one in here]
            found = nested([one.apart for one in here], draws=draws)
            totals.append(Total(probe, len(here), sum(x > EQUAL for x in means), sum(x < -EQUAL for x in means), found))
    return tuple(totals)
