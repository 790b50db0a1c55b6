"""Ensembles of dynamics: predictors that learn the same apart from one another; where they differ, little is known."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.vectors import ResidualMLP


@final
class EnsembleMLP(Dynamics):
    """Several `ResidualMLP`s that differ in nothing but their first weights.

    In training every member sees every sample and is judged by itself. Asked as one predictor it answers with the mean of their
    next frames; a `WorldModel` takes the members apart, so that each imagines a future of its own.

    Args:
        input_dim: width of the vectors, D.
        count: how many members, at least 2.
        dim: width of their hidden layers.
        depth: number of hidden layers.
        history: vectors that a step looks back at.
        actions: what acts between frames.

    Raises:
        UserError: there are fewer than two members.

    Source: Lakshminarayanan et al. (arXiv 1612.01474): random first weights and the order of samples suffice.
    """

    def __init__(
        self,
        input_dim: int,
        count: int = 5,
        dim: int = 128,
        depth: int = 2,
        history: int = 1,
        actions: ActionSpec | None = None,
    ) -> None:
        super().__init__(input_dim, history, actions)
        if count < 2:
            raise UserError(f"predictor.count must be at least 2, not {count}: for one member choose residual_mlp")
        # Each has a copy of the action's description: weights that are saved twice would have to be told apart.
        each = [ResidualMLP(input_dim, dim, depth, history, copy.deepcopy(actions)) for _ in range(count)]
        self.each = nn.ModuleList(each)

    def members(self) -> Sequence[Dynamics]:
        """The predictors, one by one."""
        return [cast(Dynamics, member) for member in self.each]

    def ahead(
        self, frames: Float[Tensor, "R T 1 D"], pos: Float[Tensor, "1 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A 1 D"]:
        """The mean of what the members say of the vectors that follow the last `answers` of the given ones."""
        return torch.stack([member.ahead(frames, pos, acting, answers) for member in self.members()]).mean(0)
