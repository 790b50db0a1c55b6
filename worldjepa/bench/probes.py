"""The probes of benchmarks by name: the same question in the same form to all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import unknown
from worldjepa.evaluate.attentive import PROTOCOLS as ATTENTIVE
from worldjepa.evaluate.attentive import attentive
from worldjepa.evaluate.linear import PROTOCOLS as LINEAR
from worldjepa.evaluate.linear import linear
from worldjepa.evaluate.lowshot import drawn, rows_of
from worldjepa.evaluate.neighbours import neighbours
from worldjepa.evaluate.probes import accuracy, logistic
from worldjepa.evaluate.results import Classified, Split, TokenSplit, ValueSplit, best, best_of, classified, r2
from worldjepa.evaluate.ridge import ridge, ridge_values

VERSION = 1
"""Changes when a probe would answer the same question otherwise."""
LAST, FOUR, RAW, TOKENS = "last", "last four", "raw", "tokens"
"""What probes are given: the mean of the last layer, of the last four side by side, the observations, all tokens."""
_Kind = TypeVar("_Kind")
PROTOCOL = {"linear": "dinov2", "attentive": "vjepa"}
"""Where a suite says nothing."""


class Splits(NamedTuple):
    """Examples for learning, choosing and testing."""

    train: Split
    val: Split
    test: Split


class Question(NamedTuple):
    """What a probe is asked."""

    views: Mapping[str, Splits]
    """The same examples, seen in one way or several."""
    classes: int
    seed: int
    protocol: str | None = None
    device: torch.device | None = None


class Probe(NamedTuple):
    """A probe of classes."""

    answer: Callable[[Question], Classified]
    random: bool = False
    """Whether its answer depends on the seed."""
    tokens: bool = False
    """Whether it looks at all tokens."""


def _nearest(question: Question) -> Classified:
    view = LAST if LAST in question.views else next(iter(question.views))
    return neighbours(*question.views[view], question.classes)


def _ridge(question: Question) -> Classified:
    return best_of({name: ridge(*splits, question.classes) for name, splits in question.views.items()})


def _logistic(question: Question) -> Classified:
    return best_of({name: _fitted(splits, question.classes) for name, splits in question.views.items()})


def _fitted(splits: Splits, classes: int) -> Classified:
    model = logistic(splits.train, splits.val, classes)
    val = accuracy(model.predict(splits.val.x), splits.val.y)
    return classified(model.predict(splits.test.x), splits.test.y, {"strength": model.strength}, val)


def _linear(question: Question) -> Classified:
    protocol = _chosen("linear", question.protocol, LINEAR)
    return best_of(
        {
            name: linear(*splits, question.classes, protocol, question.seed, question.device)
            for name, splits in question.views.items()
        }
    )


def _attentive(question: Question) -> Classified:
    protocol = _chosen("attentive", question.protocol, ATTENTIVE)
    train, val, test = (TokenSplit(one.x, one.y) for one in question.views[TOKENS])
    # As many attention heads as published, or as many as the width divides into.
    heads = math.gcd(train.x.shape[-1], protocol.attention_heads)
    protocol = protocol._replace(attention_heads=heads)
    return attentive(train, val, test, question.classes, protocol, question.seed, question.device)


def _chosen(probe: str, name: str | None, protocols: Mapping[str, _Kind]) -> _Kind:
    name = PROTOCOL[probe] if name is None else name
    if name not in protocols:
        raise unknown(f"protocol of {probe}", name, protocols)
    return protocols[name]


def _few(share: float) -> Callable[[Question], Classified]:
    def answer(question: Question) -> Classified:
        rows = drawn(next(iter(question.views.values())).train.y, share, question.seed)
        few = {name: one._replace(train=rows_of(one.train, rows)) for name, one in question.views.items()}
        return _ridge(question._replace(views=few))

    return answer


CLASSES = {
    "knn": Probe(_nearest),
    "ridge": Probe(_ridge),
    "logistic": Probe(_logistic),
    "linear": Probe(_linear, random=True),
    "attentive": Probe(_attentive, random=True, tokens=True),
    "lowshot1": Probe(_few(0.01), random=True),
    "lowshot10": Probe(_few(0.1), random=True),
}


class Told(NamedTuple):
    """What came of a question about numbers; the mean of `outcome` is the R²."""

    outcome: Float[Tensor, " N"]
    chosen: dict[str, float | int | str]
    scores: dict[str, float]


def told(predicted: Float[Tensor, "N R"], actual: Float[Tensor, "N R"]) -> Float[Tensor, " N"]:
    """What each example adds to the R²: 1 less its squared error in units of the variance, averaged over the numbers."""
    predicted, actual = predicted.double(), actual.double()
    variance = (actual - actual.mean(0)).square().mean(0)
    varies = variance > 0
    return (1 - (predicted - actual).square()[:, varies] / variance[varies]).mean(1)


def values(views: Mapping[str, tuple[ValueSplit, ValueSplit, ValueSplit]]) -> Told:
    """The ridge regression of the view that is best on the validation split."""
    found = {name: ridge_values(*splits) for name, splits in views.items()}
    names = list(found)
    name = names[best([found[one].scores["val_r2"] for one in names])]
    actual = views[name][2].y.double()
    varies = actual.std(0, correction=0) > 0
    scores = {**found[name].scores, "r2": float(r2(found[name].predicted, actual)[varies].mean())}
    return Told(told(found[name].predicted, actual), {"features": name, **found[name].chosen}, scores)
