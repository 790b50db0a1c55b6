"""A comparison of two models: by hand and by scipy where answers are known, and refused where it would mean nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tests.bench.made import result, suite
from worldjepa.bench.compare import compare
from worldjepa.bench.record import Record, pack, unpack
from worldjepa.bench.verdict import comparison
from worldjepa.errors import UserError
from worldjepa.evaluate.statistics import nested, paired
from worldjepa.report.markdown import markdown

RNG = torch.Generator().manual_seed(0)
NAMES = ("a", "b")


def asked(right: float, **fields: object) -> Record:
    """A result with outcomes of 300 examples, each right with this chance."""
    correct = torch.rand(300, generator=RNG) < right
    return result(correct=pack(correct), score=100 * float(correct.double().mean()), **fields)


def test_one_seed_each_is_paired_and_mcnemar() -> None:
    one, other = asked(0.8), asked(0.6)
    found = compare(NAMES, [one], [other], draws=2000)
    (duel,) = found.duels
    apart = 100 * (unpack(one) - unpack(other))
    assert duel.difference.mean == pytest.approx(apart.mean()) == pytest.approx(one.score - other.score)
    spread = 1.96 * apart.std() / np.sqrt(300)  # the bootstrap's interval is nearly the normal one
    assert (duel.difference.low, duel.difference.high) == pytest.approx(
        (apart.mean() - spread, apart.mean() + spread), abs=1
    )
    assert duel.difference.p < 0.01
    assert duel.exact is not None
    wins, losses = int((apart > 0).sum()), int((apart < 0).sum())
    assert (duel.exact.only_first, duel.exact.only_second) == (wins, losses)
    assert duel.exact.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    assert found.totals == ()


def test_seeds_are_averaged_example_by_example() -> None:
    ours, theirs = [asked(0.7, seed=seed) for seed in range(3)], [asked(0.65, seed=seed) for seed in range(2)]
    (duel,) = compare(NAMES, ours, theirs, draws=500).duels
    first, second = (100 * np.mean([unpack(one) for one in side], axis=0) for side in (ours, theirs))
    assert duel.difference == paired(first, second, draws=500)
    assert duel.exact is None


def test_less_can_be_better() -> None:
    fields = {"metric": "error", "higher_is_better": False}
    one, other = (result(**fields, score=x, correct=pack(torch.full((9,), x))) for x in (1.0, 3.0))
    (duel,) = compare(NAMES, [one], [other], draws=100).duels
    assert duel.difference.mean == pytest.approx(2.0)
    assert not duel.bits


def test_p_is_adjusted_as_holm_does() -> None:
    ours = [asked(right, task=f"t{i}") for i, right in enumerate((0.9, 0.72, 0.66, 0.6))]
    theirs = [asked(0.6, task=f"t{i}") for i in range(4)]
    duels = compare(NAMES, ours, theirs, draws=2000).duels
    p = np.array([one.difference.p for one in duels])
    order = np.argsort(p)
    literal = np.empty(4)
    for place, index in enumerate(order):
        literal[index] = min(1, max((4 - k) * p[order[k]] for k in range(place + 1)))
    assert [one.adjusted for one in duels] == pytest.approx(literal)


def test_over_tasks_the_bootstrap_draws_tasks_and_examples() -> None:
    ours, theirs = (
        [one for one in suite() if (one.model, one.row) == (name, "trained")] for name in ("vjepa", "ijepa")
    )
    found = compare(("vjepa", "ijepa"), ours, theirs, draws=500)
    assert [(one.probe, one.tasks, one.ahead, one.behind) for one in found.totals] == [
        ("knn", 3, 3, 0),
        ("linear", 3, 3, 0),
    ]
    assert [one.difference.mean for one in found.totals] == pytest.approx([5.0, 5.0])
    text = markdown(comparison(found))
    assert "| direction by knn, top1 | 66.0 | 61.0 | +5.0 (" in text
    assert "McNemar's p |" not in text
    assert comparison(found).html().count("<h2") == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"examples": "f" * 64}, r"direction by linear: the test examples differ: eeeeeeee… and ffffffff…"),
        ({"version": 2}, "the versions of the task differ: 1 and 2"),
        ({"correct": None}, "the results of b hold no outcomes of single examples"),
        ({"correct": pack(torch.zeros(8, dtype=torch.bool))}, "the numbers of outcomes do not fit: 8, 300"),
        ({"correct": pack(torch.zeros(300))}, "the outcomes are of different kinds: bits, float32"),
        ({"probe": "knn"}, "direction by linear: 'b' has no result"),
        ({"task": "word"}, "word by linear: 'a' has no result"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(change: dict[str, object], why: str) -> None:
    one, other = asked(0.7), replace(asked(0.6), **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"'a' and 'b' cannot be compared: .*{why}"):
        compare(NAMES, [one], [other])
    beside = [asked(0.5, task="shape") for _ in range(2)]
    found = compare(NAMES, [one, beside[0]], [other, beside[1]], draws=50)
    assert len(found.duels) == 1
    assert found.refusals
    assert "What cannot be compared" in markdown(comparison(found))


def test_nested_is_the_literal_bootstrap() -> None:
    rng = np.random.default_rng(1)
    groups = [rng.normal(mean, 1, size=n) for mean, n in ((0.0, 5), (1.0, 40), (3.0, 12))]
    found = nested(groups, draws=4000)
    literal = []
    for _ in range(4000):
        drawn = [groups[index] for index in rng.integers(3, size=3)]
        literal.append(np.mean([rng.choice(values, len(values)).mean() for values in drawn]))
    assert found.mean == pytest.approx(np.mean([values.mean() for values in groups]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(literal, [0.025, 0.975])), abs=0.12)
    share = np.mean(np.array(literal) <= 0)
    assert found.p == pytest.approx(2 * share, abs=0.03)
    with pytest.raises(UserError, match="at least one"):
        nested([])
    with pytest.raises(UserError, match="needs examples"):
        nested([np.array([])])


def test_equal_models_are_equal_whatever_rounding_leaves() -> None:
    # Three seeds that are right a third of the time each: the averages do not add up to 0 exactly.
    def side(shift: int) -> list[Record]:
        bits = [(torch.arange(90) + shift + seed) % 9 == 0 for seed in range(3)]
        return [result(task=t, seed=seed, correct=pack(one)) for seed, one in enumerate(bits) for t in ("one", "two")]

    found = compare(NAMES, side(0), side(4), draws=500)
    assert [(one.ahead, one.behind) for one in found.totals] == [(0, 0)]
    assert [one.difference.p for one in compare(NAMES, side(0), side(0), draws=500).duels] == [1.0, 1.0]
    assert "-0.0" not in markdown(comparison(compare(NAMES, side(0), side(0), draws=50)))
