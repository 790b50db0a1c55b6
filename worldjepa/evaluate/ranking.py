"""How well classes are ranked: average precision of tags, and whether the right class is among the first few.

Scores rank; they need not be probabilities.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.errors import UserError


def average_precision(scores: Float[Tensor, " N"], members: Bool[Tensor, " N"]) -> float:
    """The precision at each threshold, weighted by how much recall it adds; equal scores are one threshold.

    Raises:
        UserError: nothing is a member.
    """
    if not bool(members.any()):
        raise UserError("average precision needs at least one member of the class")
    order = scores.argsort(descending=True, stable=True)
    ranked, hits = scores[order], members[order].double().cumsum(0)
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]  # of equal scores all are found at once
    found = hits[last]
    precision = found / (last.nonzero()[:, 0] + 1)
    gained = found.diff(prepend=found.new_zeros(1)) / hits[-1]
    return float((gained * precision).sum())


def mean_average_precision(scores: Float[Tensor, "N C"], members: Bool[Tensor, "N C"]) -> float:
    """Average precision, averaged over the classes that have a member (AudioSet, FSD50K: macro); percent.

    Raises:
        UserError: no class has one.
    """
    there = [c for c in range(members.shape[1]) if bool(members[:, c].any())]
    if not there:
        raise UserError("none of the examples belongs to a class")
    return 100 * sum(average_precision(scores[:, c], members[:, c]) for c in there) / len(there)


def among_first(scores: Float[Tensor, "N C"], y: Int[Tensor, " N"], k: int = 5) -> Bool[Tensor, " N"]:
    """Whether the class of each example is among the k with the highest scores; of equal ones the first classes count."""
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return (first == y[:, None]).any(1)


def evened(hits: Bool[Tensor, " N"], y: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Percent of hits, each example weighted so that the mean is the mean over the classes that occur."""
    counts = y.bincount()
    return 100 * hits.double() * len(y) / (int((counts > 0).sum()) * counts[y])
