"""Models whose representations are known functions of the place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from worldjepa.interfaces import Encoder, Objective, Predictor, TargetEncoder
from worldjepa.jepa import JEPA
from worldjepa.types import Grid, Masks, Tokens


class Known(Encoder):
    """Each token is the mean brightness of its cell of an image and functions of its coordinates, turned and shifted.

    Args:
        cell: side of a cell.
        turn: turns the features, as another training would.
    """

    dim = 5

    def __init__(self, cell: int = 4, turn: Tensor | None = None) -> None:
        super().__init__()
        self.cell = cell
        self.turn = nn.Parameter(torch.eye(self.dim) if turn is None else turn)

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        return Grid(1, obs_shape[1] // self.cell, obs_shape[2] // self.cell)

    def forward(self, obs: Any, keep: Any = None) -> Tokens:
        grid = self.grid(obs.shape[1:])
        pos = grid.pos().expand(len(obs), -1, -1)
        light = nn.functional.avg_pool2d(obs.float().mean(1, keepdim=True), self.cell).flatten(2).transpose(1, 2) / 255
        x = torch.cat([20 * light, 3 * pos[..., 1:2], pos[..., 2:], torch.zeros(*light.shape[:2], 2)], -1)
        tokens = Tokens((x + 1) @ self.turn, pos)
        return tokens if keep is None else tokens.select(keep)


class Whole(TargetEncoder):
    """The answers are one vector a place, all at right angles, whatever is observed."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.lattice = grid

    def forward(self, obs: Any, masks: list[Masks]) -> list[Tokens]:
        table = Tokens(torch.eye(self.lattice.size), self.lattice.pos())
        every = Tokens(*(part.expand(len(obs), -1, -1) for part in table))
        return [every.select(mask.target) for mask in masks]


class Off(Predictor):
    """Believes that a place lies so many columns further to the right than it does."""

    def __init__(self, grid: Grid, columns: int) -> None:
        super().__init__()
        self.lattice, self.columns = grid, columns

    def forward(self, context: Tokens, query: Tensor, cond: Any = None, mask: int = 0) -> Tokens:
        column = (query[..., 2] + self.columns) % self.lattice.w
        number = (query[..., 1] * self.lattice.w + column).long()
        return Tokens(7 * nn.functional.one_hot(number, self.lattice.size).float(), query)


class Nothing(Objective):
    def forward(self, pred: Any, target: Any, context: Any, cond: Any = None) -> dict[str, Tensor]:
        raise AssertionError("nobody asks for a loss")


def believing(grid: Grid, columns: int) -> JEPA:
    """A model of a lattice that errs by so many columns."""
    return JEPA(Known(), Off(grid, columns), Whole(grid), Nothing())
