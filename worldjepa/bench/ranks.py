"""Tasks whose answers are ranked classes: several classes at once, or one class among five."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from worldjepa.evaluate.ranked import RANKED, Ranked
from worldjepa.evaluate.ranking import among_first, evened, mean_average_precision
from worldjepa.evaluate.results import ValueSplit, best

FIRST = 5
"""Among how many the right class must be for the metric `recall5`."""
Splits = tuple[ValueSplit, ValueSplit, ValueSplit]
"""Features with memberships, 0 or 1 for each class."""


def judged(metric: str, scores: Float[Tensor, "N C"], members: Shaped[Tensor, "N C"]) -> dict[str, float]:
    """All numbers of a metric.

    Args:
        metric: `map`, or `recall5` where each example belongs to one class.
        scores: rank the classes, or the examples of each class.
        members: which classes each example belongs to.
    """
    if metric == "map":
        return {"map": mean_average_precision(scores.double(), members > 0)}
    y = members.argmax(1)
    hits = among_first(scores, y, FIRST)
    first = among_first(scores, y, 1)
    return {
        "recall5": float(evened(hits, y).mean()),
        "top5": 100 * float(hits.double().mean()),
        "top1": 100 * float(first.double().mean()),
    }


def outcome(metric: str, scores: Float[Tensor, "N C"], members: Shaped[Tensor, "N C"]) -> Float[Tensor, " N"] | None:
    """What each example adds: the mean is the score. None for average precision, which is of all examples at once."""
    if metric == "map":
        return None
    y = members.argmax(1)
    return evened(among_first(scores, y, FIRST), y)


def ranked(probe: str, metric: str, views: Mapping[str, Splits]) -> tuple[str, Ranked]:
    """The view that is best on the validation split, and its scores."""

    def judge(scores: Float[Tensor, "N C"], members: Float[Tensor, "N C"]) -> float:
        return judged(metric, scores, members)[metric]

    found = {name: RANKED[probe](*splits, judge) for name, splits in views.items()}
    names = list(found)
    name = names[best([found[one].val for one in names])]
    return name, found[name]


def said_blindly(train: Shaped[Tensor, "N C"], count: int) -> Float[Tensor, "count C"]:
    """The same scores for every example: how frequent each class is among the training examples."""
    return train.double().mean(0).expand(count, -1)


def members_of(y: Shaped[Tensor, "N ..."], classes: int) -> Float[Tensor, "N C"]:
    """Memberships of classes [N], as numbers."""
    return torch.nn.functional.one_hot(y.long(), classes).float()
