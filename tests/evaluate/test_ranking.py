"""Average precision is scikit-learn's, recall among the first is counted by hand, and probes rank what shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from worldjepa.errors import UserError
from worldjepa.evaluate.ranked import ranked_neighbours, ranked_ridge, vote
from worldjepa.evaluate.ranking import among_first, average_precision, evened, mean_average_precision
from worldjepa.evaluate.results import ValueSplit


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_average_precision_is_scikit_learns(count: int, levels: int, seed: int) -> None:
    """With many equal scores, too."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=count).astype(np.float64) / 7
    members = rng.random(count) < 0.4
    members[rng.integers(count)] = True
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(members))
    assert found == pytest.approx(average_precision_score(members, scores), abs=1e-12)


def test_the_mean_is_over_classes_that_occur() -> None:
    rng = np.random.default_rng(0)
    scores, members = rng.normal(size=(30, 5)), rng.random((30, 5)) < 0.3
    members[:, 2] = False
    found = mean_average_precision(torch.from_numpy(scores), torch.from_numpy(members))
    there = [0, 1, 3, 4]
    assert found == pytest.approx(100 * average_precision_score(members[:, there], scores[:, there], average="macro"))
    with pytest.raises(UserError, match="none of the examples belongs to a class"):
        mean_average_precision(torch.from_numpy(scores), torch.zeros(30, 5, dtype=torch.bool))
    with pytest.raises(UserError, match="at least one member"):
        average_precision(torch.zeros(3), torch.zeros(3, dtype=torch.bool))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(2, 9), st.integers(1, 9), st.integers(0, 2**31 - 1))
def test_recall_by_hand(count: int, classes: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(4, size=(count, classes)), rng.integers(classes, size=count)
    hits = among_first(torch.from_numpy(scores).double(), torch.from_numpy(y), k)
    expected = []
    for row, actual in zip(scores, y, strict=True):
        before = sum(row[c] > row[actual] or (row[c] == row[actual] and c < actual) for c in range(classes))
        expected.append(before < k)
    assert hits.tolist() == expected
    each = [np.mean([h for h, one in zip(expected, y, strict=True) if one == c]) for c in sorted(set(y))]
    assert float(evened(hits, torch.from_numpy(y)).mean()) == pytest.approx(100 * np.mean(each))


def scenes(count: int, seed: int) -> ValueSplit:
    """Each of four tags shows in a direction of its own, in noise."""
    rng = torch.Generator().manual_seed(seed)
    members = (torch.rand(count, 4, generator=rng) < 0.3).float()
    x = members @ torch.eye(4, 12) + 0.3 * torch.randn(count, 12, generator=rng)
    return ValueSplit(x, members)


def test_probes_rank_what_shows() -> None:
    train, val, test = scenes(300, 0), scenes(80, 1), scenes(120, 2)

    def judge(scores: torch.Tensor, members: torch.Tensor) -> float:
        return mean_average_precision(scores.double(), members > 0)

    for probe in (ranked_ridge, ranked_neighbours):
        found = probe(train, val, test, judge)
        assert judge(found.scores, test.y) > 75
        assert judge(torch.zeros_like(found.scores), test.y) < 45
        (setting, *_) = found.chosen
        worse = [probe(train, val, test, judge, [value]).val for value in (found.chosen[setting],)]  # type: ignore[list-item]
        assert worse == [pytest.approx(found.val)]


def test_the_vote_by_hand() -> None:
    train = scenes(30, 0)
    x = scenes(7, 1).x
    for k in (1, 5, 100):
        found = vote(train, x, k, 0.07, chunk=3)
        for row, told in zip(x, found, strict=True):
            alike = F.cosine_similarity(row[None], train.x)
            nearest = alike.argsort(descending=True)[:k]
            weights = (alike[nearest] / 0.07).exp()
            torch.testing.assert_close(told, (weights[:, None] * train.y[nearest]).sum(0) / weights.sum())
