"""Ridge regression in closed form: all penalties from one eigendecomposition, the reported one chosen on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.evaluate.results import Classified, Regressed, Split, ValueSplit, best, classified, percent, r2

PENALTIES = tuple(10.0**e for e in range(3, -8, -1))
"""In units of the mean eigenvalue of `X^T X`, from strong to weak; of equally good ones the strongest is kept."""


class Spectrum(NamedTuple):
    """The centred problem in the basis in which it is diagonal."""

    mean_x: Float[Tensor, " D"]
    mean_y: Float[Tensor, " R"]
    basis: Float[Tensor, "D K"]
    values: Float[Tensor, " K"]
    """Eigenvalues of `X^T X`; those that are left out are 0."""
    targets: Float[Tensor, "K R"]

    @property
    def unit(self) -> float:
        """The mean eigenvalue; 1 for embeddings that have collapsed to a point, of which nothing can be told."""
        return float(self.values.sum()) / len(self.mean_x) or 1.0

    def weight(self, alpha: float) -> Float[Tensor, "D R"]:
        """The minimiser of `|XW - Y|^2 + alpha |W|^2` over centred X and Y."""
        return self.basis @ (self.targets / (self.values + alpha)[:, None])

    def answers(self, x: Float[Tensor, "N D"], alpha: float) -> Float[Tensor, "N R"]:
        """What is told of `x`."""
        return (x.to(self.mean_x) - self.mean_x) @ self.weight(alpha) + self.mean_y


def spectrum(x: Float[Tensor, "N D"], y: Float[Tensor, "N R"]) -> Spectrum:
    """Decompose the smaller of `X^T X` and `X X^T`, in float64."""
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    if len(x) >= x.shape[1]:
        values, basis = torch.linalg.eigh(x.T @ x)
        return Spectrum(mean_x, mean_y, basis, values.clamp_min(0), basis.T @ (x.T @ y))
    values, left = torch.linalg.eigh(x @ x.T)
    return Spectrum(mean_x, mean_y, x.T @ left, values.clamp_min(0), left.T @ y)


def ridge(train: Split, val: Split, test: Split, classes: int, penalties: Sequence[float] = PENALTIES) -> Classified:
    """Classify by a regression onto one-hot vectors; `chosen` has the `penalty`, in units of the mean eigenvalue.

    Raises:
        UserError: no penalty is given, or one is not positive.
    """
    _check(penalties)
    found = spectrum(train.x, F.one_hot(train.y.long(), classes).double())
    scores = [percent(found.answers(val.x, p * found.unit).argmax(1) == val.y) for p in penalties]
    place = best(scores)
    predicted = found.answers(test.x, penalties[place] * found.unit).argmax(1)
    return classified(predicted, test.y, {"penalty": penalties[place]}, scores[place])


def ridge_values(
    train: ValueSplit, val: ValueSplit, test: ValueSplit, penalties: Sequence[float] = PENALTIES
) -> Regressed:
    """Tell numbers from embeddings; the penalty is the one with the best mean R² on `val`.

    Raises:
        UserError: no penalty is given, or one is not positive.
    """
    _check(penalties)
    found = spectrum(train.x, train.y)
    scores = [float(r2(found.answers(val.x, p * found.unit), val.y.double()).mean()) for p in penalties]
    place = best(scores)
    predicted = found.answers(test.x, penalties[place] * found.unit).cpu()
    actual = test.y.double().cpu()
    each = r2(predicted, actual)
    told = {"r2": float(each.mean()), "val_r2": scores[place]}
    told |= {f"r2/{number}": float(value) for number, value in enumerate(each)}
    return Regressed(predicted, (predicted - actual).square().sum(1), {"penalty": penalties[place]}, told)


def _check(penalties: Sequence[float]) -> None:
    if not penalties or min(penalties) <= 0:
        raise UserError(f"penalties must be positive, one or more: {tuple(penalties)}")
