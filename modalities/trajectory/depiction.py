"""Trajectories as pictures: their frames, or where states are."""

from __future__ import annotations

from typing import final

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.types import Grid
from worldjepa.visual.depiction import Depiction, not_of, rgb

SIDE, DOT = 48, 3
"""Pixels of the picture of a state, and half of those of the dot in it."""


@final
class Episode(Depiction):
    """One picture a frame; of a vector that is a dot at its first two numbers, between the least and the largest of all."""

    def pictures(self, obs: Shaped[Tensor, "B ..."], grid: Grid) -> UInt8[ndarray, "B F H W 3"]:
        """The frames of trajectories `[B, T, C, H, W]`, or dots for states `[B, T, S]`."""
        if obs.ndim not in (3, 5) or obs.shape[1] != grid.t:
            raise not_of("trajectories", obs)
        return rgb(obs) if obs.ndim == 5 else _dots(obs.float().numpy())


def _dots(states: Float[ndarray, "B T S"]) -> UInt8[ndarray, "B T H W 3"]:
    place = states[..., :2]
    low, high = place.min((0, 1)), place.max((0, 1))
    share = (place - low) / np.maximum(high - low, 1e-12)
    if share.shape[-1] == 1:
        share = np.concatenate([share, np.full_like(share, 0.5)], -1)
    middle = DOT + np.round(share * (SIDE - 1 - 2 * DOT)).astype(int)  # [B, T, 2]: x, y
    at = np.arange(SIDE)
    near = np.abs(middle[..., None] - at) <= DOT  # [B, T, 2, SIDE]
    dots = near[..., 1, :, None] & near[..., 0, None, :]  # [B, T, SIDE, SIDE]
    return np.where(dots[..., None], np.uint8(32), np.full(3, 245, np.uint8))
