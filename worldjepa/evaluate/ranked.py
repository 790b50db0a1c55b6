"""Probes that give every class a score: what they choose, they choose by how well the validation examples are ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.evaluate.neighbours import KS, TEMPERATURES
from worldjepa.evaluate.results import Choice, ValueSplit, best
from worldjepa.evaluate.ridge import PENALTIES, spectrum

Judge = Callable[[Float[Tensor, "N C"], Float[Tensor, "N C"]], float]
"""How good scores are for examples with these memberships; more is better."""


class Ranked(NamedTuple):
    """The scores of the test examples."""

    scores: Float[Tensor, "N C"]
    chosen: Choice
    val: float
    """What the judge said of the validation examples."""


def ranked_ridge(
    train: ValueSplit, val: ValueSplit, test: ValueSplit, judge: Judge, penalties: Sequence[float] = PENALTIES
) -> Ranked:
    """Regression onto memberships, 0 or 1 for each class, in closed form; chooses the `penalty`."""
    found = spectrum(train.x, train.y)
    values = [judge(found.answers(val.x, p * found.unit), val.y) for p in penalties]
    place = best(values)
    scores = found.answers(test.x, penalties[place] * found.unit)
    return Ranked(scores, {"penalty": penalties[place]}, values[place])


def ranked_neighbours(
    train: ValueSplit, val: ValueSplit, test: ValueSplit, judge: Judge, ks: Sequence[int] = KS
) -> Ranked:
    """The mean memberships of the nearest, weighted by `exp(cosine / T)` as of `neighbours`; chooses `k`."""
    (temperature,) = TEMPERATURES
    values = [judge(vote(train, val.x, k, temperature), val.y) for k in ks]
    place = best(values)
    scores = vote(train, test.x, ks[place], temperature)
    return Ranked(scores, {"k": ks[place], "temperature": temperature}, values[place])


def vote(
    train: ValueSplit, x: Float[Tensor, "N D"], k: int, temperature: float, chunk: int = 256
) -> Float[Tensor, "N C"]:
    """The weighted mean of the memberships of the k nearest, all if there are fewer."""
    bank, members = F.normalize(train.x.float(), dim=1), train.y.float()
    parts = []
    for rows in F.normalize(x.float(), dim=1).split(chunk):  # type: ignore[no-untyped-call]
        similarity, nearest = (rows @ bank.T).topk(min(k, len(bank)), dim=1)
        weights = torch.zeros(len(rows), len(bank)).scatter_(1, nearest, (similarity / temperature).softmax(1))
        parts.append(weights @ members)
    return torch.cat(parts)


RANKED: Mapping[str, Callable[[ValueSplit, ValueSplit, ValueSplit, Judge], Ranked]] = {
    "knn": ranked_neighbours,
    "ridge": ranked_ridge,
}
"""By the names of probes."""
