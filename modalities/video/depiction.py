"""Clips as pictures: a frame of each step of time."""

from __future__ import annotations

from typing import final

from jaxtyping import Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.types import Grid
from worldjepa.visual.depiction import Depiction, not_of, rgb


@final
class Frames(Depiction):
    """The middle frame of each tubelet; an image is its own."""

    def pictures(self, obs: Shaped[Tensor, "B ..."], grid: Grid) -> UInt8[ndarray, "B F H W 3"]:
        """Frames of the clips `[B, C, T, H, W]`, or images `[B, C, H, W]`."""
        if obs.ndim not in (4, 5) or (obs.ndim == 4 and grid.t != 1):
            raise not_of("clips", obs)
        clips = obs[:, :, None] if obs.ndim == 4 else obs
        each = clips.shape[2] / grid.t
        middles = [int((step + 0.5) * each) for step in range(grid.t)]
        return rgb(clips[:, :, middles].transpose(1, 2))
