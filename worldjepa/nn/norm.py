"""Batch normalisation over all processes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.nn.ranks import mean_over_ranks


class BatchNorm(nn.Module):
    """Normalises each feature by its mean and variance over the batch, which in several processes is that of all of them.

    In evaluation, and wherever no gradient is asked for, by running averages of the two.

    Args:
        dim: number of features.
        momentum: share that a batch has in the running averages.
        eps: added to the variance.

    Source: Ioffe and Szegedy (arXiv 1502.03167).
    """

    mean: Tensor
    var: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
        """The normalised features, in the type that they came in."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.float().flatten(0, -2)  # [N, D]
            if self.training and torch.is_grad_enabled():
                mean = mean_over_ranks(rows.mean(0))
                var = mean_over_ranks((rows - mean).square().mean(0))
                self._follow(mean.detach(), var.detach())
            else:
                mean, var = self.mean.float(), self.var.float()
            normal = (rows - mean) * (var + self.eps).rsqrt() * self.weight.float() + self.bias.float()
        return normal.view(x.shape).to(x.dtype)

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        # A step whose numbers are not finite is skipped, and must leave nothing behind.
        for running, now in ((self.mean, mean), (self.var, var)):
            running.lerp_(torch.where(now.isfinite(), now, running).to(running.dtype), self.momentum)
