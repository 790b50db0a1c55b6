"""What probes are given and what they return. Whatever a probe chooses, it chooses on the validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Choice = dict[str, float | int | str]


class Split(NamedTuple):
    """Embeddings with their class indices."""

    x: Float[Tensor, "N D"]
    y: Int[Tensor, " N"]


class TokenSplit(NamedTuple):
    """Tokens of one layer with class indices."""

    x: Float[Tensor, "N n D"]
    y: Int[Tensor, " N"]


class ValueSplit(NamedTuple):
    """Embeddings with numbers to be told from them."""

    x: Float[Tensor, "N D"]
    y: Float[Tensor, "N R"]


class Classified(NamedTuple):
    """What a probe said about the test examples."""

    predicted: Int[Tensor, " N"]
    correct: Bool[Tensor, " N"]
    chosen: Choice
    """What was chosen on the validation split."""
    scores: dict[str, float]
    """`top1` on the test split and `val_top1` on the one for choosing, in percent."""


class Regressed(NamedTuple):
    """The same for numbers."""

    predicted: Float[Tensor, "N R"]
    error: Float[Tensor, " N"]
    """Squared error of each example, summed over what is told."""
    chosen: Choice
    scores: dict[str, float]
    """`r2` on the test split and `val_r2`, averaged over what is told, and `r2/NUMBER` of each."""


def classified(predicted: Int[Tensor, " N"], actual: Int[Tensor, " N"], chosen: Choice, val_top1: float) -> Classified:
    """A result on the CPU."""
    predicted, actual = predicted.cpu(), actual.cpu()
    correct = predicted == actual
    return Classified(predicted, correct, chosen, {"top1": percent(correct), "val_top1": val_top1})


def percent(correct: Bool[Tensor, " N"]) -> float:
    """How many, of a hundred."""
    return 100.0 * float(correct.double().mean())


def best(values: Sequence[float]) -> int:
    """The place of the largest, the first of equals."""
    return max(range(len(values)), key=lambda place: (values[place], -place))


def best_of(results: Mapping[str, Classified]) -> Classified:
    """The result that is best on the validation split, with its name among what was chosen as `features`.

    The published evaluations of I-JEPA take the best of the last layer and the last four side by side.
    """
    names = list(results)
    name = names[best([results[one].scores["val_top1"] for one in names])]
    return results[name]._replace(chosen={"features": name, **results[name].chosen})


def r2(predicted: Float[Tensor, "N R"], actual: Float[Tensor, "N R"]) -> Float[Tensor, " R"]:
    """Share of the variance that is told, of each number; 0 for one that never varies, unless it is told exactly."""
    left = (predicted - actual).square().sum(0)
    total = (actual - actual.mean(0)).square().sum(0)
    constant = torch.where(left == 0, 1.0, 0.0).to(left)
    return torch.where(total > 0, 1 - left / total.clamp_min(torch.finfo(total.dtype).tiny), constant)
