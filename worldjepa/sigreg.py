"""SIGReg: pull the distribution of representations towards an isotropic Gaussian, seen from many directions."""

from __future__ import annotations

from typing import final

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import Objective
from worldjepa.nn.ranks import mean_over_ranks, ranks
from worldjepa.objectives import Of, averaged, check_of, samples
from worldjepa.types import Tokens

KNOTS = 17
COARSE = 16
"""Steps to which samples are rounded before a seed is read off them."""
FARTHEST = 3.0
"""The test compares characteristic functions at this many points from 0 to here."""


@final
class SIGReg(Objective):
    """The Epps-Pulley test of normality, averaged over random directions.

    In each direction the empirical characteristic function of the projected samples is compared with that of a standard normal.
    The directions are drawn anew in every step from a seed that is read off the samples themselves, so that the term is a
    function of its arguments. In several processes the characteristic functions, and so the term, are those of all samples.

    The test's factor, the number of samples, is left out unless `count` says otherwise, so that `weight` means the same in
    batches of all sizes.

    Args:
        weight: factor of the term.
        directions: how many are drawn.
        of: the samples: pooled `context`s; the tokens of the `answers`, which must then carry a gradient; or the
            `predictions`, each view by itself, of which the mean is taken.
        count: multiply by the number of samples, as LeJEPA does.

    Source: LeJEPA (arXiv 2511.08544), section 4.
    """

    def __init__(self, weight: float = 1.0, directions: int = 256, of: Of = "answers", count: bool = False) -> None:
        super().__init__()
        if directions < 1:
            raise UserError(f"sigreg needs at least 1 direction, not {directions}")
        check_of(of)
        self.weight, self.directions, self.of, self.count = weight, directions, of, count

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"sigreg": scalar}`."""
        with torch.autocast(pred.x.device.type, enabled=False):
            views = samples(self.of, pred, target, context)
            term = averaged([sigreg(z, self.directions) for z in views])
        number = len(views[0]) * ranks()
        return {"sigreg": self.weight * term * (number if self.count else 1)}


def sigreg(z: Float[Tensor, "N D"], directions: int) -> Tensor:
    """The mean over directions of the Epps-Pulley statistic, without its factor N, of the samples of all processes."""
    # Rounded, so that sums are exact whatever their order: as many processes as there may be draw the same directions.
    seed = (COARSE * z.detach()).round().long().sum()
    if ranks() > 1:
        dist.all_reduce(seed)
    rng = torch.Generator().manual_seed(int(seed) & ((1 << 63) - 1))
    ways = torch.randn(z.shape[1], directions, generator=rng).to(z.device)
    projected = z @ (ways / ways.norm(dim=0))  # [N, S]
    t = torch.linspace(0, FARTHEST, KNOTS, device=z.device)
    angles = projected[..., None] * t  # [N, S, knots]
    real, imaginary = (mean_over_ranks(part.mean(0)) for part in (angles.cos(), angles.sin()))  # [S, knots]
    window = torch.exp(-0.5 * t.square())
    apart = (real - window).square() + imaginary.square()
    # The integrand is even: twice the half line, by the trapezoid rule.
    weights = torch.full_like(t, 2 * FARTHEST / (KNOTS - 1))
    weights[[0, -1]] /= 2
    return (apart * window * weights).sum(-1).mean()
