"""How sure a score is: intervals over seeds and over test examples, and whether two models differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worldjepa.errors import UserError

_CHUNK = 1 << 22
"""Most draws that are in memory at a time."""


class Interval(NamedTuple):
    """A mean and where it lies with the confidence that was asked."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much better the first model is than the second, and how likely so much is by chance, two-sided."""

    mean: float
    low: float
    high: float
    p: float


class Disagreement(NamedTuple):
    """McNemar's counts and its exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean over seeds, or folds, with Student's interval.

    Raises:
        UserError: there are fewer than two values, or the level is not between 0 and 1.
    """
    _check_level(level)
    n = len(values)
    if n < 2:
        raise UserError(f"an interval over seeds needs at least 2 of them, not {n}")
    x = np.asarray(values, np.float64)
    half = t_quantile((1 + level) / 2, n - 1) * float(x.std(ddof=1)) / math.sqrt(n)
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half)


def t_cdf(t: float, df: int) -> float:
    """The distribution function of Student's t for a whole number of degrees of freedom.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, df, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    share = 2 / math.pi * (angle + sine * total) if odd else sine * total  # of the mass within [-t, t], with t's sign
    return 0.5 + share / 2


@cache
def t_quantile(p: float, df: int) -> float:
    """The t with `t_cdf(t, df) = p`, for p of 0.5 or more, by bisection."""
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def bootstrap(
    values: NDArray[np.float64],
    strata: NDArray[np.int64] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """The mean over test examples with the percentile interval of the bootstrap.

    Args:
        values: one number an example, such as 1 where a probe was right.
        strata: the class of each example: within each as many are drawn as there are.
        level: confidence.
        draws: how often the test set is drawn again.
        seed: of the draws.

    Raises:
        UserError: there are no examples, or the settings are out of range.
    """
    means = resampled(values, strata, draws, seed)
    low, high = _range(means, level)
    return Interval(float(values.mean()), low, high)


def paired(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    strata: NDArray[np.int64] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The mean difference of two models on the same test examples, and whether it could be chance.

    p is twice the share of draws on the other side of 0, counted with one draw more, so that it is never 0.

    Raises:
        UserError: the two are not of the same examples, or the settings are out of range.
    """
    if len(first) != len(second):
        raise UserError(f"a paired comparison needs the same examples: {len(first)} and {len(second)}")
    apart = first - second
    return _difference(float(apart.mean()), resampled(apart, strata, draws, seed), level)


def nested(
    groups: Sequence[NDArray[np.float64]], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Difference:
    """The mean over groups, such as tasks, of the means of their values, such as seeds, examples, or differences of two models.

    The bootstrap draws groups with replacement, and within each that is drawn its values anew: how much the mean depends on
    the choice of groups is part of the interval. p is that of a mean of 0, as in `paired`.

    Raises:
        UserError: there are no groups, one is empty, or the settings are out of range.
    """
    if not groups:
        raise UserError("a mean over groups needs at least one of them")
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(groups), size=(draws, len(groups)))
    total = np.zeros(draws)
    for index, values in enumerate(groups):
        rows = np.nonzero(picked == index)[0]
        if len(rows):
            np.add.at(total, rows, resampled(values, None, len(rows), int(rng.integers(1 << 31))))
    return _difference(float(np.mean([values.mean() for values in groups])), total / len(groups), level)


def resampled(
    values: NDArray[np.float64], strata: NDArray[np.int64] | None = None, draws: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """The mean of each of many test sets drawn with replacement from this one.

    Raises:
        UserError: there are no examples or draws, or not one stratum an example.
    """
    if not len(values) or draws < 1:
        raise UserError(f"the bootstrap needs examples and draws: {len(values)} and {draws}")
    if strata is not None and len(strata) != len(values):
        raise UserError(f"{len(strata)} strata for {len(values)} examples")
    rng = np.random.default_rng(seed)
    groups = [values] if strata is None else [values[strata == one] for one in np.unique(strata)]
    total = np.zeros(draws)
    for group in groups:
        total += _sums(group, draws, rng)
    found: NDArray[np.float64] = total / len(values)
    return found


def _sums(group: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The sum of as many values as there are, drawn with replacement, again and again."""
    kinds, counts = np.unique(group, return_counts=True)
    if len(kinds) * 8 < len(group):
        # Few different values, as where each is right or wrong: how often each is drawn is one draw of a multinomial.
        often = rng.multinomial(len(group), counts / len(group), size=draws)
        drawn: NDArray[np.float64] = often @ kinds
        return drawn
    sums = np.zeros(draws)
    rows = max(1, _CHUNK // len(group))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        sums[start : start + count] = group[rng.integers(len(group), size=(count, len(group)))].sum(1)
    return sums


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Disagreement:
    """Whether two models that classified the same examples differ: the exact test on those that only one got right.

    Args:
        first: where the first model was right.
        second: where the second was.

    Raises:
        UserError: the two are not of the same examples.
    """
    if len(first) != len(second):
        raise UserError(f"a paired comparison needs the same examples: {len(first)} and {len(second)}")
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    n = one + other
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(min(one, other) + 1)]
    tail = sum(math.exp(log - n * math.log(2)) for log in logs)
    return Disagreement(one, other, min(1.0, 2 * tail))


def _difference(mean: float, means: NDArray[np.float64], level: float) -> Difference:
    low, high = _range(means, level)
    equal = 1e-12 * float(np.abs(means).max())  # what rounding leaves of a difference of 0
    beyond = min(int((means <= equal).sum()), int((means >= -equal).sum()))
    return Difference(mean, low, high, min(1.0, 2 * (beyond + 1) / (len(means) + 1)))


def _range(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    _check_level(level)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level must be between 0 and 1: {level}")
