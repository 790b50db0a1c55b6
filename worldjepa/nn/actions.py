"""What actions a model was trained with: how many numbers, within which bounds, how they are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError


@final
class ActionSpec(nn.Module):
    """Describes actions and normalises them. All of it lies in buffers, so it travels inside the checkpoint.

    A vector that acts holds `repeat` actions of `dim` numbers one after another, where a model skips frames. Mean and standard
    deviation are taken from the training data before the first step, and so are bounds that are not given.

    Args:
        dim: numbers of one action, A.
        repeat: actions that lead from one frame of the model to the next.
        low: least value of each number.
        high: largest value of each.

    Raises:
        UserError: a number is not positive, or the bounds do not fit.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, dim: int, repeat: int = 1, low: Sequence[float] | None = None, high: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if min(dim, repeat) < 1:
            raise UserError(f"actions need dim and repeat of at least 1: dim={dim}, repeat={repeat}")
        if (low is None) != (high is None):
            raise UserError("bounds of actions are given both, low and high, or neither")
        if low is not None and high is not None:
            fits = len(low) == len(high) == dim and all(one < other for one, other in zip(low, high, strict=True))
            if not fits:
                raise UserError(f"low must lie below high in each of {dim} numbers: low={list(low)}, high={list(high)}")
        self.dim, self.repeat = dim, repeat
        self.bounded = low is not None
        """Whether the bounds were given."""
        self.register_buffer("low", torch.tensor([-1.0] * dim if low is None else [float(v) for v in low]))
        self.register_buffer("high", torch.tensor([1.0] * dim if high is None else [float(v) for v in high]))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @property
    def width(self) -> int:
        """Numbers of a vector that acts, W."""
        return self.dim * self.repeat

    def fit(self, actions: Float[Tensor, "... W"]) -> None:
        """Take mean, standard deviation, and bounds that were not given, from training data.

        Raises:
            UserError: the data's vectors are of another width.
        """
        self.check(actions)
        each = actions.reshape(-1, self.dim).float()
        std = each.std(0, correction=0)
        self.mean.copy_(each.mean(0))
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        if not self.bounded:
            self.low.copy_(each.amin(0))
            self.high.copy_(each.amax(0))

    def check(self, actions: Float[Tensor, "... W"]) -> None:
        """Raise `UserError` unless vectors that act are as wide as this says."""
        if actions.shape[-1] != self.width:
            raise UserError(
                f"the data's actions have {actions.shape[-1]} numbers a step, but the model expects {self.width} = "
                f"{self.dim} x {self.repeat} (modality.action_dim x frames skipped)"
            )

    def forward(self, actions: Float[Tensor, "... W"]) -> Float[Tensor, "... W"]:
        """The actions in units of their standard deviation."""
        self.check(actions)
        return (actions - self.mean.repeat(self.repeat)) / self.std.repeat(self.repeat)
