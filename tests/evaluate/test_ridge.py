"""Ridge regression against scikit-learn and the closed form, narrow and wide."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import r2_score

from evaluate.cases import clusters, relabelled
from worldjepa.errors import UserError
from worldjepa.evaluate.results import Split, ValueSplit, r2
from worldjepa.evaluate.ridge import PENALTIES, ridge, ridge_values, spectrum


@pytest.mark.parametrize("dim", [6, 120])
@pytest.mark.parametrize("alpha", [0.01, 30.0])
def test_answers_equal_scikit_learn(dim: int, alpha: float) -> None:
    train, test = clusters(80, dim=dim), clusters(50, dim=dim, seed=1)
    y = F.one_hot(train.y, 4).double()
    found = spectrum(train.x, y)
    theirs = Ridge(alpha).fit(train.x.double().numpy(), y.numpy())
    expected = torch.from_numpy(theirs.predict(test.x.double().numpy()))
    torch.testing.assert_close(found.answers(test.x, alpha), expected)
    centred = train.x.double() - train.x.double().mean(0)
    assert found.unit == pytest.approx(float(torch.linalg.eigvalsh(centred.T @ centred).mean()))


def test_the_penalty_that_is_chosen_is_the_best_on_validation_data() -> None:
    train, val, test = clusters(40, dim=30), clusters(200, dim=30, seed=1), clusters(200, dim=30, seed=2)
    found = ridge(train, val, test, 4)
    unit = spectrum(train.x, F.one_hot(train.y, 4).double()).unit
    scores = {}
    for penalty in PENALTIES:
        theirs = RidgeClassifier(penalty * unit).fit(train.x.double().numpy(), train.y.numpy())
        scores[penalty] = theirs.score(val.x.double().numpy(), val.y.numpy())
        if penalty == found.chosen["penalty"]:
            assert found.predicted.tolist() == theirs.predict(test.x.double().numpy()).tolist()
    assert scores[found.chosen["penalty"]] == max(scores.values())  # type: ignore[index]
    assert found.scores["val_top1"] == pytest.approx(100 * max(scores.values()))
    assert found.scores["top1"] == pytest.approx(100 * float((found.predicted == test.y).double().mean()))
    # Test labels change the score and nothing else.
    other = ridge(train, val, relabelled(test), 4)
    assert other.chosen == found.chosen
    assert torch.equal(other.predicted, found.predicted)
    assert not bool((other.correct & found.correct).any())


def test_validation_data_decide_even_where_the_test_would_decide_otherwise() -> None:
    # A weak direction tells the classes apart; strong penalties do not see it, as the strong direction says the opposite.
    strong = torch.tensor([[10.0, 1.0], [10.0, -1.0], [10.0, -1.0], [-10.0, -1.0], [-10.0, 1.0], [-10.0, 1.0]])
    train = Split(strong, torch.tensor([0, 1, 0, 1, 0, 1]))
    asked = torch.tensor([[10.0, 0.5], [-10.0, -0.5]])
    by_strong = Split(asked, torch.tensor([0, 1]))
    penalties = (10.0, 1e-6)
    preferred = [ridge(train, by_strong, by_strong, 2, [p]).scores["top1"] for p in penalties]
    flipped = Split(asked, 1 - by_strong.y)
    for val, test in ((by_strong, flipped), (flipped, by_strong)):
        found = ridge(train, val, test, 2, penalties)
        assert found.scores["val_top1"] == 100 - found.scores["top1"]
    assert max(preferred) == 100


def test_numbers_are_told_as_scikit_learn_tells_them() -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 2, generator=rng)

    def split(n: int) -> ValueSplit:
        x = torch.randn(n, 5, generator=rng)
        return ValueSplit(x, x @ weight + torch.tensor([0.1, 3.0]) * torch.randn(n, 2, generator=rng))

    train, val, test = split(60), split(60), split(60)
    found = ridge_values(train, val, test)
    alpha = float(found.chosen["penalty"]) * spectrum(train.x, train.y).unit
    theirs = Ridge(alpha).fit(train.x.double().numpy(), train.y.double().numpy())
    expected = theirs.predict(test.x.double().numpy())
    torch.testing.assert_close(found.predicted, torch.from_numpy(expected))
    assert found.scores["r2"] == pytest.approx(r2_score(test.y.numpy(), expected))
    assert [found.scores["r2/0"], found.scores["r2/1"]] == pytest.approx(
        r2_score(test.y.numpy(), expected, multioutput="raw_values")
    )
    torch.testing.assert_close(found.error, (found.predicted - test.y).square().sum(1))
    noise = ValueSplit(val.x, torch.randn(60, 2, generator=rng))
    assert float(ridge_values(train, noise, test).chosen["penalty"]) >= 1 > float(found.chosen["penalty"])


def test_r2_of_what_never_varies() -> None:
    still = torch.ones(3, 2)
    assert r2(torch.tensor([[1.0, 1], [1, 2], [1, 1]]), still).tolist() == [1, 0]


def test_of_collapsed_embeddings_the_most_frequent_class_is_told() -> None:
    split = Split(torch.ones(10, 3), torch.tensor([0] * 3 + [1] * 7))
    found = ridge(split, split, split, 2)
    assert found.predicted.tolist() == [1] * 10
    assert found.scores["top1"] == pytest.approx(70)


def test_nonsense_is_refused() -> None:
    split = clusters(8)
    for penalties in ((), (0.0, 1.0)):
        with pytest.raises(UserError, match="must be positive"):
            ridge(split, split, split, 4, penalties)
