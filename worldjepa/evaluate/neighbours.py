"""Nearest neighbours after DINO: many numbers of neighbours from one search, the reported one chosen on validation data.

Source: DINO (arXiv 2104.14294), appendix F.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.evaluate.results import Classified, Split, best, classified, percent

KS = (10, 20, 100, 200)
TEMPERATURES = (0.07,)


def neighbours(
    train: Split,
    val: Split,
    test: Split,
    classes: int,
    ks: Sequence[int] = KS,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Classified:
    """Classify by a vote of the nearest neighbours in `train`; k and T are those that are best on `val`.

    Of equally good ones the first is taken. `chosen` has `k` and `temperature`.

    Raises:
        UserError: no k or T is given, or one is not positive.
    """
    if not ks or not temperatures or min(ks) < 1 or min(temperatures) <= 0:
        raise UserError(f"k and T must be positive, one or more of each: k {tuple(ks)}, T {tuple(temperatures)}")
    settings = list(product(ks, temperatures))
    scores = [percent(one == val.y) for one in votes(train, val.x, classes, ks, temperatures)]
    place = best(scores)
    k, temperature = settings[place]
    (predicted,) = votes(train, test.x, classes, [k], [temperature])
    return classified(predicted, test.y, {"k": k, "temperature": temperature}, scores[place])


def votes(
    train: Split,
    x: Float[Tensor, "N D"],
    classes: int,
    ks: Sequence[int],
    temperatures: Sequence[float],
    chunk: int = 1024,
) -> list[Int[Tensor, " N"]]:
    """The classes of `x` by every k and, within it, every T: neighbours vote with `exp(cosine similarity / T)`.

    Args:
        train: what to vote with.
        x: what to classify.
        classes: number of classes.
        ks: numbers of neighbours; each at most all of `train`.
        temperatures: each T.
        chunk: rows per matrix product.
    """
    most = [min(k, len(train.x)) for k in ks]
    bank = F.normalize(train.x.float(), dim=1)
    parts: list[list[Tensor]] = [[] for _ in range(len(ks) * len(temperatures))]
    for rows in F.normalize(x.float(), dim=1).split(chunk):  # type: ignore[no-untyped-call]
        similarity, nearest = (rows @ bank.T).topk(max(most), dim=1)  # [n, k]
        labels = train.y[nearest]
        for part, (k, temperature) in zip(parts, product(most, temperatures), strict=True):
            votes = torch.zeros(len(rows), classes, device=rows.device)
            votes.scatter_add_(1, labels[:, :k], (similarity[:, :k] / temperature).exp())
            part.append(votes.argmax(1))
    return [torch.cat(part) for part in parts]
