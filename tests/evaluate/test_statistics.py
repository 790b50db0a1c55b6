"""Intervals and tests against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from worldjepa.errors import UserError
from worldjepa.evaluate.metrics import lidar
from worldjepa.evaluate.statistics import bootstrap, mcnemar, paired, resampled, t_cdf, t_interval, t_quantile

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 201])
def test_students_t_is_scipys(df: int) -> None:
    for t in (-3.0, 0.0, 0.4, 2.5, 40.0):
        assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-12)
    for p in (0.5, 0.9, 0.975, 0.9995):
        assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_over_seeds_is_scipys(level: float) -> None:
    values = [71.2, 70.4, 73.0]
    low, high = stats.t.interval(level, 2, np.mean(values), stats.sem(values))
    assert t_interval(values, level) == pytest.approx((np.mean(values), low, high))


def test_the_bootstrap_interval_is_near_scipys() -> None:
    values = (RNG.random(400) < 0.7).astype(float)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    ours = bootstrap(values, draws=4000)
    assert ours.mean == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)
    assert bootstrap(values, draws=4000) == ours
    assert bootstrap(values, draws=4000, seed=1) != ours


def test_strata_keep_their_sizes() -> None:
    strata = np.repeat([0, 1, 5], [30, 60, 10])
    values = np.where(strata == 0, 1.0, np.where(strata == 1, 0.0, 0.5))
    assert resampled(values, strata, 50) == pytest.approx(np.full(50, values.mean()))  # no variance within: none at all
    assert resampled(values, None, 50).std() > 0.01
    noisy = RNG.random(100)
    share = np.array([0.3, 0.6, 0.1])
    within = np.array([noisy[strata == one].var() / (strata == one).sum() for one in (0, 1, 5)])
    assert resampled(noisy, strata, 20_000).std() == pytest.approx(np.sqrt((share**2 * within).sum()), rel=0.03)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    hard = RNG.random(500)
    first, second = (hard < 0.72).astype(float), (hard < 0.70).astype(float)
    found = paired(first, second)
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert 0 < found.low < found.mean < found.high
    assert found.p < 0.01
    assert bootstrap(first).low < second.mean()
    back = paired(second, first)
    assert (back.mean, back.p) == pytest.approx((-found.mean, found.p))
    assert paired(first, first).p == 1
    apart = RNG.normal(0.08, 1, 400)
    t_test = stats.ttest_1samp(apart, 0).pvalue
    assert paired(apart, np.zeros(400)).p == pytest.approx(t_test, abs=0.02)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 5), (9, 2), (2, 9), (30, 55), (900, 1000)])
def test_mcnemar_is_the_binomial_test(only_first: int, only_second: int) -> None:
    first = np.array([True] * (only_first + 7) + [False] * (only_second + 3))
    second = np.array([False] * only_first + [True] * 7 + [True] * only_second + [False] * 3)
    found = mcnemar(first, second)
    assert found[:2] == (only_first, only_second)
    n = only_first + only_second
    assert found.p == pytest.approx(stats.binomtest(only_first, n).pvalue if n else 1.0, rel=1e-9)


@pytest.mark.parametrize(("n", "q", "d"), [(40, 5, 6), (5, 4, 12)])
def test_lidar_is_its_formula(n: int, q: int, d: int) -> None:
    z = RNG.normal(size=(n, 1, d)) * np.linspace(0.2, 3, d) + 0.5 * RNG.normal(size=(n, q, d))
    means = z.mean(1)
    between = np.cov(means.T)
    within = sum(np.outer(x, x) for x in (z - means[:, None]).reshape(-1, d)) / (n * (q - 1)) + 1e-4 * np.eye(d)
    root = linalg.fractional_matrix_power(within, -0.5)
    values = np.linalg.eigvalsh(root @ between @ root).clip(0) + 1e-8
    p = values / values.sum()
    assert lidar(torch.from_numpy(z)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_lidar_counts_the_directions_that_tell_samples_apart() -> None:
    z = 0.01 * RNG.normal(size=(200, 4, 8))
    z[..., :3] += RNG.normal(size=(200, 1, 3))
    assert 2.8 < lidar(torch.from_numpy(z)) < 3.1


def test_nonsense_is_refused() -> None:
    x = np.ones(3)
    for wrong, told in (
        (lambda: t_interval([1.0]), "at least 2"),
        (lambda: t_interval([1.0, 2.0], 95), "between 0 and 1"),
        (lambda: bootstrap(x[:0]), "needs examples"),
        (lambda: bootstrap(x, np.zeros(2, np.int64)), "2 strata for 3"),
        (lambda: paired(x, x[:2]), "same examples: 3 and 2"),
        (lambda: mcnemar(x > 0, x[:2] > 0), "same examples"),
        (lambda: lidar(torch.ones(1, 3, 2)), "at least 2 samples"),
    ):
        with pytest.raises((UserError, ValueError), match=told):
            wrong()


def test_few_different_values_are_drawn_as_many_are() -> None:
    values = np.repeat([0.0, 0.5, 1.0], [50, 20, 30])
    rng = np.random.default_rng(1)
    literal = [rng.choice(values, 100).mean() for _ in range(5000)]
    found = resampled(values, draws=5000)
    assert stats.ks_2samp(found, literal).pvalue > 0.001
    assert found.std() == pytest.approx(values.std() / 10, rel=0.05)
    within = resampled(values, np.repeat([0, 1], 50), draws=1000)  # 50 times 0 in one stratum, 20 and 30 in the other
    assert (within.min() > 0.25, within.max() <= 0.5) == (True, True)
