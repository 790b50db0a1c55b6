"""Probes and metrics against naive loops, scikit-learn and cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from worldjepa.evaluate.metrics import centred_rank, feature_std, rankme
from worldjepa.evaluate.probes import STRENGTHS, Split, accuracy, knn, logistic


def clusters(n: int, classes: int = 4, dim: int = 6, noise: float = 1.2, seed: int = 0) -> Split:
    rng = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.arange(n) % classes
    return Split(centres[y] + noise * torch.randn(n, dim, generator=rng), y)


# --- nearest neighbours ----------------------------------------------------------------------------------------------


def naive_knn(train: Split, test: Split, classes: int, k: int, temperature: float) -> list[int]:
    answers = []
    for row in test.x.double():
        near = [
            (float(row @ other / (row.norm() * other.norm())), int(label))
            for other, label in zip(train.x.double(), train.y, strict=True)
        ]
        votes = [0.0] * classes
        for similarity, label in sorted(near, reverse=True)[:k]:
            votes[label] += math.exp(similarity / temperature)
        answers.append(votes.index(max(votes)))
    return answers


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (500, 0.2)])
def test_knn_equals_a_loop(k: int, temperature: float) -> None:
    train, test = clusters(80), clusters(60, seed=1)
    predicted = knn(train, test, 4, k, temperature, chunk=7)
    assert predicted.tolist() == naive_knn(train, test, 4, k, temperature)


def test_knn_equals_scikit_learn() -> None:
    train, test = clusters(200), clusters(100, seed=1)
    theirs = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    theirs.fit(train.x.double().numpy(), train.y.numpy())
    assert knn(train, test, 4).tolist() == theirs.predict(test.x.double().numpy()).tolist()


def test_knn_weighs_its_votes() -> None:
    # One neighbour on the spot against two at some distance.
    train = Split(torch.tensor([[1.0, 0.0], [0.7, 0.7], [0.7, 0.7]]), torch.tensor([0, 1, 1]))
    test = Split(torch.tensor([[2.0, 0.0]]), torch.tensor([1]))
    assert knn(train, test, 2, k=3, temperature=0.07).tolist() == [0]
    assert knn(train, test, 2, k=3, temperature=10.0).tolist() == [1]


def test_knn_never_uses_test_labels() -> None:
    train, test = clusters(80), clusters(60, seed=1)
    lies = Split(test.x, torch.zeros_like(test.y))
    assert torch.equal(knn(train, test, 4), knn(train, lies, 4))


# --- logistic regression ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_logistic_equals_scikit_learn(strength: float) -> None:
    train, val = clusters(300), clusters(200, seed=1)
    scaled = Split(train.x * torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0, 7.0]) + 5, train.y)
    held = Split(val.x * torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0, 7.0]) + 5, val.y)
    ours = logistic(scaled, held, 4, strengths=(strength,), iterations=500)
    x = (scaled.x.double() - scaled.x.double().mean(0)) / scaled.x.double().std(0, correction=0)
    theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-9, max_iter=5000).fit(x.numpy(), train.y.numpy())
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, atol=2e-3)
    # Biases are not penalised, so that only their differences are determined.
    np.testing.assert_allclose(ours.bias - ours.bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    held_x = (held.x.double() - ours.mean) / ours.std
    agree = ours.predict(held.x).numpy() == theirs.predict(held_x.numpy())
    assert agree.mean() > 0.99


def test_the_strength_is_chosen_on_validation_data_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    train = clusters(60, dim=30, noise=4.0)
    points = 4 * torch.randn(400, 30, generator=rng)
    strong, weak = (logistic(train, train, 4, (strength,)) for strength in (1.0, 1e-5))
    differ = (strong.predict(points) != weak.predict(points)).nonzero()[:, 0]
    assert len(differ) > 20, "the two fits must disagree for the test to mean anything"
    for wanted, fit in ((1.0, strong), (1e-5, weak)):
        val = Split(points[differ], fit.predict(points[differ]))
        assert logistic(train, val, 4, (1.0, 1e-5)).strength == wanted
    assert logistic(train, Split(points[:1], strong.predict(points[:1])), 4).strength in STRENGTHS


def test_of_equally_good_strengths_the_strongest_is_kept() -> None:
    train = Split(torch.tensor([[-1.0], [1.0]] * 10), torch.tensor([0, 1] * 10))
    assert logistic(train, train, 2).strength == max(STRENGTHS)
    with pytest.raises(ValueError, match="at least one"):
        logistic(train, train, 2, strengths=())


def test_constant_features_do_no_harm() -> None:
    train = clusters(100)
    constant = Split(torch.cat([train.x, torch.full((100, 1), 3.0)], 1), train.y)
    fitted = logistic(constant, constant, 4)
    assert bool(fitted.weight.isfinite().all())
    assert accuracy(fitted.predict(constant.x), constant.y) > 50


def test_logistic_fits_where_gradients_are_switched_off() -> None:
    train = clusters(100)
    with torch.no_grad():
        fitted = logistic(train, train, 4)
    assert not fitted.weight.requires_grad
    assert accuracy(fitted.predict(train.x), train.y) > 50


def test_accuracy_is_a_percentage() -> None:
    assert accuracy(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0])) == 75.0


# --- metrics ---------------------------------------------------------------------------------------------------------


def by_definition(z: Tensor, eps: float = 1e-7) -> float:
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum() + eps
    return float((-(p * p.log()).sum()).exp())


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20)])
def test_rankme_equals_its_definition(shape: tuple[int, int]) -> None:
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.01, 3, shape[1]) + 0.5
    assert rankme(z) == pytest.approx(by_definition(z), rel=1e-6)
    assert 1 <= rankme(z) <= min(shape)
    assert centred_rank(z) == pytest.approx(by_definition(z - z.mean(0)), rel=1e-3)


def test_rankme_of_known_cases() -> None:
    assert rankme(torch.eye(16)) == pytest.approx(16, rel=1e-4)
    assert rankme(torch.eye(16)[:, :5]) == pytest.approx(5, rel=1e-4)
    ray = torch.randn(30, 1) @ torch.randn(1, 12)
    assert rankme(ray) == pytest.approx(1, abs=1e-3)
    assert rankme(torch.zeros(5, 3)) == 1.0
    assert rankme(100 * torch.eye(4)) == pytest.approx(rankme(torch.eye(4)))


def test_centring_shows_what_an_offset_hides() -> None:
    z = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert rankme(z + 1000) < 1.2
    assert centred_rank(z + 1000) > 7


def test_feature_std() -> None:
    z = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    assert feature_std(z) == pytest.approx((2.0 + 0.0) / 2)
    assert feature_std(torch.ones(10, 4)) == 0.0
