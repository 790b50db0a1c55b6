"""Objectives: named, weighted terms whose sum is the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError, unknown
from worldjepa.interfaces import Objective
from worldjepa.types import Tokens


@final
class SmoothL1(Objective):
    """Smooth-L1 distance between prediction and answer, mean over all elements.

    Args:
        beta: below this difference the distance is quadratic.
        weight: factor of the term.

    Source: I-JEPA, `src/train.py` of its repository (the paper's equation 1 writes the squared L2 distance).
    """

    def __init__(self, beta: float = 1.0, weight: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise UserError(f"smooth-L1 beta must be positive, not {beta}; for plain L1 use objective=l1")
        self.beta = beta
        self.weight = weight

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"smooth_l1": scalar}`."""
        loss = F.smooth_l1_loss(pred.x.float(), target.x.float(), beta=self.beta)
        return {"smooth_l1": self.weight * loss}


@final
class L1(Objective):
    """Absolute difference between prediction and answer, mean over all elements.

    Args:
        weight: factor of the term.

    Source: V-JEPA (arXiv 2404.08471), equation 1.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"l1": scalar}`."""
        return {"l1": self.weight * F.l1_loss(pred.x.float(), target.x.float())}


@final
class MSE(Objective):
    """Squared distance between prediction and answer, mean over all elements.

    Args:
        weight: factor of the term.

    Source: I-JEPA, equation 1; A-JEPA (arXiv 2311.15830).
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"mse": scalar}`."""
        return {"mse": self.weight * F.mse_loss(pred.x.float(), target.x.float())}


@final
class Cosine(Objective):
    """Two less twice the cosine between prediction and answer, mean over tokens: the squared distance on the unit sphere.

    Args:
        weight: factor of the term.

    Source: BYOL (arXiv 2006.07733), equation 2. M2D (arXiv 2210.14648) and Audio-JEPA (arXiv 2507.02915) standardise the
    answers over their features first, which `target=ema` does.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"cosine": scalar}`."""
        apart = F.normalize(pred.x.float(), dim=-1) - F.normalize(target.x.float(), dim=-1)
        return {"cosine": self.weight * apart.square().sum(-1).mean()}


Of = Literal["context", "answers"]
"""Whose statistics a term looks at: mean-pooled contexts, or the answers' tokens, which must then carry a gradient."""


def check_of(of: str) -> None:
    """Raise `UserError` unless this is one of `Of`."""
    if of not in get_args(Of):
        raise unknown("objective.of", of, get_args(Of))


def samples(of: Of, target: Tokens, context: Tokens) -> Float[Tensor, "N D"]:
    """The samples that a term takes its statistics over."""
    if of == "context":
        return context.x.float().mean(-2).flatten(0, -2)  # [B*C, D]
    if torch.is_grad_enabled() and not target.x.requires_grad:
        raise UserError("objective.of=answers needs answers that carry a gradient: choose target=shared")
    return target.x.float().flatten(0, -2)  # [B*M*Q, D]


@final
class VarianceCovariance(Objective):
    """The variance and covariance terms of VICReg on the mean-pooled context representations, or on the answers.

    The variance term is the mean over features of `max(0, 1 - std)`, the covariance term the sum of the squared
    off-diagonal covariances over the width. Statistics are over the samples of one forward pass.

    Args:
        variance: weight of the variance term.
        covariance: weight of the covariance term.
        of: the samples: pooled `context`s, or the tokens of the `answers`.

    Source: VICReg (arXiv 2105.04906), section 4.1.
    """

    def __init__(self, variance: float = 1.0, covariance: float = 0.04, of: Of = "context") -> None:
        super().__init__()
        check_of(of)
        self.of = of
        self.variance = variance
        self.covariance = covariance

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"variance": scalar, "covariance": scalar}`."""
        z = samples(self.of, target, context)
        if z.shape[0] < 2:
            raise UserError("variance and covariance need at least 2 samples in a forward pass; raise run.batch_size")
        spread, overlap = variance_covariance(z)
        return {"variance": self.variance * spread, "covariance": self.covariance * overlap}


def variance_covariance(z: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
    """The two VICReg terms of the rows of `z`: the hinge on the standard deviations and the off-diagonal covariance."""
    z = z - z.mean(0)
    covariance = z.T @ z / (z.shape[0] - 1)  # [D, D]
    std = (covariance.diagonal() + 1e-4).sqrt()
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return torch.relu(1 - std).mean(), off_diagonal / z.shape[1]


@final
class Sum(Objective):
    """Several objectives at once.

    Args:
        parts: the objectives; their term names must differ.
    """

    def __init__(self, parts: Sequence[Objective]) -> None:
        super().__init__()
        if not parts:
            raise UserError("objective.parts is empty; name at least one objective")
        self.parts = nn.ModuleList(parts)

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return the terms of all parts."""
        terms: dict[str, Tensor] = {}
        for part in self.parts:
            for name, value in part(pred, target, context, cond).items():
                if name in terms:
                    raise UserError(f"two parts of the objective both give a term '{name}'")
                terms[name] = value
        return terms
