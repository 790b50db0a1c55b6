"""Where the walls of a world of rooms stand. All walls are vertical, reach from top to bottom and have one door each."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from worldjepa.errors import unknown
from worldjepa.world.noise import uniform

Layout = Literal["empty", "two_rooms", "random_doors", "smaze", "snake"]

DOOR = 0.24
"""Width of a door, where the world is a unit square."""


def check_layout(layout: str) -> None:
    """Raise `UserError` unless there is a layout of this name."""
    if layout not in get_args(Layout):
        raise unknown("layout", layout, get_args(Layout))


def walls_of(layout: str, seeds: Int64[ndarray, " B"]) -> Float64[ndarray, "B W 3"]:
    """The walls of each world, from left to right: x, lower and upper end of the door.

    - `empty`: none.
    - `two_rooms`: one wall in the middle with its door in the middle.
    - `random_doors`: one wall, x and door drawn anew for each seed.
    - `smaze`: two walls with doors at opposite ends, so that the way leads along an S.
    - `snake`: four walls, doors at alternating ends.
    """
    b = len(seeds)
    if layout == "random_doors":
        u = uniform(seeds, 0x3A11, count=2)
        x, low = 0.3 + 0.4 * u[:, 0], 0.05 + (0.9 - DOOR) * u[:, 1]
        return np.stack([x, low, low + DOOR], -1)[:, None]
    fixed = {
        "empty": np.zeros((0, 3)),
        "two_rooms": np.array([[0.5, 0.5 - DOOR / 2, 0.5 + DOOR / 2]]),
        "smaze": _alternating(2),
        "snake": _alternating(4),
    }[layout]
    return np.broadcast_to(fixed, (b, *fixed.shape)).copy()


def _alternating(count: int) -> Float64[ndarray, "{count} 3"]:
    ends = ((0.0, DOOR), (1.0 - DOOR, 1.0))
    return np.array([((i + 1) / (count + 1), *ends[i % 2]) for i in range(count)])
