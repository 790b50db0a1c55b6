"""Masks of time: some frames are seen, and what is asked is what comes after them."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.masks import check_positive
from worldjepa.types import Grid, Masks


@final
class Future(MaskSampler):
    """Hides the future; what it asks for makes a world model of a JEPA. Nothing is drawn at random.

    Up to two masks in one step:

    1. Rollouts: `history` frames are seen and the next `horizon` are asked. Several rollouts of a window begin at places spread
       evenly over it, each a target set with a context of its own.
    2. With `teacher`, teacher forcing: all frames but the last are seen and all but the first are asked, each of which a causal
       predictor answers from the frames before it.

    Args:
        history: frames that a rollout sees.
        horizon: frames that it is asked for; by default all that are left.
        rollouts: how many begin in a window.
        teacher: add teacher forcing. It needs a predictor and an encoder that are causal.

    Raises:
        UserError: a number is not positive; on a call, the frames are too few.

    Source: teacher forcing and rollout together are V-JEPA 2-AC's (arXiv 2506.09985, section 3).
    """

    def __init__(self, history: int = 1, horizon: int | None = None, rollouts: int = 1, teacher: bool = False) -> None:
        self.history = check_positive("history", history)
        self.horizon = None if horizon is None else check_positive("horizon", horizon)
        self.rollouts = check_positive("rollouts", rollouts)
        self.teacher = teacher

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Return the rollouts, context `[B, M, K]` and target `[B, M, Q]`, and with `teacher` another with M = 1."""
        horizon = grid.t - self.history if self.horizon is None else self.horizon
        left = grid.t - self.history - horizon
        if left < 0 or horizon < 1:
            raise UserError(
                f"masks.history={self.history} and masks.horizon={self.horizon} do not fit into windows of {grid.t} frames"
            )
        if self.rollouts > left + 1:
            raise UserError(
                f"masks.rollouts={self.rollouts} rollouts of {self.history + horizon} frames cannot begin at different places "
                f"of {grid.t} frames: at most {left + 1} can"
            )
        starts = [round(left * part / max(1, self.rollouts - 1)) for part in range(self.rollouts)]
        seen = [range(start, start + self.history) for start in starts]
        asked = [range(start + self.history, start + self.history + horizon) for start in starts]
        masks = [Masks(_tokens(grid, seen, batch), _tokens(grid, asked, batch))]
        if self.teacher:
            every = range(grid.t)
            masks.append(Masks(_tokens(grid, [every[:-1]], batch), _tokens(grid, [every[1:]], batch)))
        return masks


def _tokens(grid: Grid, sets: list[range], batch: int) -> Int[Tensor, "B S K"]:
    """The tokens of the frames of each set, the same for all samples."""
    each = grid.h * grid.w
    frames = torch.tensor([list(frames) for frames in sets])  # [S, F]
    tokens = frames[..., None] * each + torch.arange(each)  # [S, F, hw]
    return tokens.flatten(1).expand(batch, -1, -1).clone()
