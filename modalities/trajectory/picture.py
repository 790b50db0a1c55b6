"""Pictures of worlds of rooms: the point on one channel, walls and distractors on the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

CHANNELS = 2
POINT = 0.04
"""Standard deviation of the point's spot, where the world is a unit square."""
WALL = 0.015
"""Standard deviation of a wall's profile."""


def draw(
    position: Float64[ndarray, "B 2"],
    walls: Float64[ndarray, "B W 3"],
    dots: Float64[ndarray, "B K 2"],
    size: int,
) -> UInt8[ndarray, "B 2 {size} {size}"]:
    """Pictures with y downwards and x to the right. Distractors look like the point, but stand on the channel of the walls."""
    at = (np.arange(size) + 0.5) / size
    point = _spots(position[:, None], at)[:, 0]  # [B, S, S]
    still = np.zeros_like(point)
    for wall in range(walls.shape[1]):
        x, low, high = (part[:, None] for part in walls[:, wall].T)
        solid = ((at[None] < low) | (at[None] > high)).astype(np.float64)  # [B, S]
        profile = np.exp(-0.5 * ((at[None] - x) / max(WALL, 0.5 / size)) ** 2)
        still = np.maximum(still, solid[:, :, None] * profile[:, None, :])
    if dots.shape[1]:
        still = np.maximum(still, _spots(dots, at).max(1))
    return np.round(255 * np.stack([point, still], 1)).astype(np.uint8)


def _spots(centres: Float64[ndarray, "B K 2"], at: Float64[ndarray, " S"]) -> Float64[ndarray, "B K S S"]:
    x = np.exp(-0.5 * ((at - centres[..., :1]) / POINT) ** 2)  # [B, K, S]
    y = np.exp(-0.5 * ((at - centres[..., 1:]) / POINT) ** 2)
    return y[..., :, None] * x[..., None, :]
