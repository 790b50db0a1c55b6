"""Nearest neighbours of several k and T from one search, against scikit-learn; k is chosen on validation data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from evaluate.cases import clusters
from worldjepa.errors import UserError
from worldjepa.evaluate.neighbours import neighbours, votes
from worldjepa.evaluate.results import Split


def test_all_k_and_t_from_one_search_equal_scikit_learn() -> None:
    train, test = clusters(300), clusters(90, seed=1)
    ks, temperatures = (1, 10, 20, 400), (0.07, 0.5)
    found = iter(votes(train, test.x, 4, ks, temperatures, chunk=32))
    for k in ks:
        for temperature in temperatures:
            theirs = KNeighborsClassifier(
                min(k, 300), metric="cosine", weights=lambda d, t=temperature: np.exp((1 - d) / t)
            )
            theirs.fit(train.x.double().numpy(), train.y.numpy())
            assert next(found).tolist() == theirs.predict(test.x.double().numpy()).tolist()


def angles(*degrees: float) -> torch.Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], 1)


def test_k_is_chosen_on_validation_data() -> None:
    # At 0° the nearest of all is of class 0 and the next two of class 1: k=1 says 0, k=3 says 1.
    train = Split(angles(1, 5, 6, 90), torch.tensor([0, 1, 1, 0]))
    asked = angles(0, 0.5)
    says_one, says_zero = Split(asked, torch.tensor([1, 1])), Split(asked, torch.tensor([0, 0]))
    found = neighbours(train, says_one, says_zero, 2, ks=(1, 3), temperatures=(1.0,))
    assert found.chosen == {"k": 3, "temperature": 1.0}
    assert found.scores == {"top1": 0.0, "val_top1": 100.0}
    assert not found.correct.any()
    assert found.predicted.tolist() == [1, 1]
    assert neighbours(train, says_zero, says_one, 2, ks=(1, 3), temperatures=(1.0,)).chosen["k"] == 1


def test_nonsense_is_refused() -> None:
    split = clusters(8)
    for settings in ({"ks": ()}, {"ks": (0,)}, {"temperatures": (0.0,)}):
        with pytest.raises(UserError, match="must be positive"):
            neighbours(split, split, split, 4, **settings)  # type: ignore[arg-type]
