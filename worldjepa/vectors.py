"""Dynamics of worlds that one vector describes: small networks that a processor evaluates 100,000 times a second."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec


@final
class ResidualMLP(Dynamics):
    """The next vector is the last one plus what a network makes of the last vectors and actions.

    At the beginning, where there are fewer than `history`, the first one stands for those before it, with the mean action.

    Args:
        input_dim: width of the vectors, D.
        dim: width of the hidden layers.
        depth: number of hidden layers.
        history: vectors that a step looks back at.
        actions: what acts between frames.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 128,
        depth: int = 2,
        history: int = 1,
        actions: ActionSpec | None = None,
    ) -> None:
        super().__init__(input_dim, history, actions)
        if min(dim, depth) < 1:
            raise UserError(f"predictor.dim and predictor.depth must be at least 1: dim={dim}, depth={depth}")
        width = history * (input_dim + (0 if actions is None else actions.width))
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, dim), nn.GELU()]
            width = dim
        self.net = nn.Sequential(*layers, nn.Linear(width, input_dim))

    def ahead(
        self, frames: Float[Tensor, "R T 1 D"], pos: Float[Tensor, "1 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A 1 D"]:
        """The vectors that follow the last `answers` of the given ones."""
        x, last = frames[:, :, 0], frames[:, -answers:, 0]
        missing = self.history - 1 + answers - x.shape[1]
        if missing > 0:
            x = torch.cat([x[:, :1].expand(-1, missing, -1), x], 1)
            acting = torch.cat([torch.zeros_like(acting[:, :1]).expand(-1, missing, -1), acting], 1)
        both = torch.cat([x, acting.to(x.dtype)], -1)[:, -(self.history - 1 + answers) :]
        windows = both.unfold(1, self.history, 1).flatten(2)  # [R, A, (D+W)*history]
        following: Tensor = last + self.net(windows)
        return following[:, :, None]


@final
class Recurrent(Dynamics):
    """A gated recurrent unit whose hidden state is the representation itself and whose input is the action.

    Args:
        input_dim: width of the vectors, D.
        actions: what acts between frames.

    Source: PLDM (arXiv 2502.14819) and EB-JEPA (arXiv 2602.03604).
    """

    def __init__(self, input_dim: int, actions: ActionSpec | None = None) -> None:
        super().__init__(input_dim, 1, actions)
        self.cell = nn.GRUCell(0 if actions is None else actions.width, input_dim)

    def ahead(
        self, frames: Float[Tensor, "R T 1 D"], pos: Float[Tensor, "1 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A 1 D"]:
        """The vectors that follow the last `answers` of the given ones."""
        x = frames[:, -answers:].flatten(0, 2)  # [R*A, D]
        following: Tensor = self.cell(acting[:, -answers:].flatten(0, 1).to(x.dtype), x)
        return following.view(len(frames), answers, 1, self.input_dim)
