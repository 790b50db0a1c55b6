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
from worldjepa.nn.ranks import gathered
from worldjepa.types import Tokens


def paired(pred: Tokens, target: Tokens) -> tuple[Tensor, Tensor]:
    """The values of predictions and answers in float32.

    Raises:
        UserError: they are of different widths.
    """
    if pred.x.shape[-1] != target.x.shape[-1]:
        raise UserError(
            f"predictions are {pred.x.shape[-1]} wide and answers {target.x.shape[-1]}: this predictor, target and objective "
            "do not go together; choose all of them by method="
        )
    return pred.x.float(), target.x.float()


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
        loss = F.smooth_l1_loss(*paired(pred, target), beta=self.beta)
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
        return {"l1": self.weight * F.l1_loss(*paired(pred, target))}


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
        return {"mse": self.weight * F.mse_loss(*paired(pred, target))}


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
        ours, theirs = (F.normalize(x, dim=-1) for x in paired(pred, target))
        apart = ours - theirs
        return {"cosine": self.weight * apart.square().sum(-1).mean()}


def check_views(objective: Objective, views: int) -> None:
    """Raise `UserError` where an objective compares more views than there are."""
    if views < objective.least_views:
        raise UserError(
            "this objective compares several views of an observation, but there is one: choose views=, such as "
            "views=vicreg, views=lejepa or views=ibot"
        )


@final
class Invariance(Objective):
    """Squared distance of the prediction for each view to the mean over a sample's views, mean over all elements.

    For two views that is a quarter of their squared distance.

    Args:
        weight: factor of the term.

    Source: LeJEPA (arXiv 2511.08544), section 5; with two views VICReg (arXiv 2105.04906), section 4.1.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    @property
    def least_views(self) -> int:
        """Two."""
        return 2

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"invariance": scalar}`.

        Raises:
            UserError: there is one view.
        """
        check_views(self, pred.x.shape[1])
        z = pred.x.float()  # [B, V, Q, D]
        return {"invariance": self.weight * (z - z.mean(1, keepdim=True)).square().mean()}


Of = Literal["context", "answers", "predictions"]
"""Whose statistics a term looks at: mean-pooled contexts; the answers' tokens, which must then carry a gradient; or the
predictions, of each view by itself."""


def check_of(of: str) -> None:
    """Raise `UserError` unless this is one of `Of`."""
    if of not in get_args(Of):
        raise unknown("objective.of", of, get_args(Of))


def samples(of: Of, pred: Tokens, target: Tokens, context: Tokens) -> list[Float[Tensor, "N D"]]:
    """The samples that a term takes its statistics over: a term is the mean over the sets of this list."""
    if of == "context":
        return [context.x.float().mean(-2).flatten(0, -2)]  # [B*C, D]
    if of == "predictions":
        return [view.flatten(0, 1) for view in pred.x.float().unbind(1)]  # V times [B*Q, D]
    if torch.is_grad_enabled() and not target.x.requires_grad:
        raise UserError("objective.of=answers needs answers that carry a gradient: choose target=shared")
    return [target.x.float().flatten(0, -2)]  # [B*M*Q, D]


def averaged(terms: Sequence[Tensor]) -> Tensor:
    """The mean of scalar terms."""
    return terms[0] if len(terms) == 1 else torch.stack(list(terms)).mean()


@final
class VarianceCovariance(Objective):
    """The variance and covariance terms of VICReg on the mean-pooled context representations, the answers or the predictions.

    The variance term is the mean over features of `max(0, 1 - std)`, the covariance term the sum of the squared
    off-diagonal covariances over the width. Statistics are over the samples of one forward pass of all processes.

    Args:
        variance: weight of the variance term.
        covariance: weight of the covariance term.
        of: the samples: pooled `context`s; the tokens of the `answers`; or the `predictions`, each view by itself, of which
            the mean is taken.

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
        views = [gathered(z) for z in samples(self.of, pred, target, context)]
        if views[0].shape[0] < 2:
            raise UserError("variance and covariance need at least 2 samples in a forward pass; raise run.batch_size")
        spread, overlap = (averaged(part) for part in zip(*map(variance_covariance, views), strict=True))
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

    @property
    def least_views(self) -> int:
        """What the most demanding part needs."""
        return max(part.least_views for part in self.parts)  # type: ignore[type-var, return-value]

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return the terms of all parts."""
        terms: dict[str, Tensor] = {}
        for part in self.parts:
            for name, value in part(pred, target, context, cond).items():
                if name in terms:
                    raise UserError(f"two parts of the objective both give a term '{name}'")
                terms[name] = value
        return terms
