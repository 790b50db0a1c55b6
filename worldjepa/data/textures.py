"""Kinds of texture, as formulas on a plane: what the embedded pictures are drawn and the embedded sounds are played from.

Every part of a texture says something about every other part, which is what prediction from context needs, and what tells
the kinds apart is how things are arranged: brought to one mean and one deviation, with any rotation and of either sign, they
have the same mean picture and nearly the same statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
"""Intensities or coordinates, `[n, H, W]`, in float32 throughout; or a number for each, `[n, 1, 1]`."""

_TAU = np.float32(2 * np.pi)


def placed(
    kinds: Int64[ndarray, " n"], shape: tuple[int, int], angle: Plane, wavelength: Plane, shift_u: Plane, shift_v: Plane
) -> Plane:
    """Textures on a plane of `shape` cells, `[n, H, W]`, each of mean 0 and standard deviation 1.

    Args:
        kinds: index in `TEXTURES`.
        shape: height and width.
        angle: by which each is turned, in radians.
        wavelength: in cells.
        shift_u: by which each is moved along its own first axis, in cells.
        shift_v: along its second.
    """
    height, width = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in shape)
    x, y = width[None, None, :], height[None, :, None]
    u = (np.cos(angle) * x + np.sin(angle) * y + shift_u) / wavelength  # [n, H, W], in wavelengths
    v = (np.cos(angle) * y - np.sin(angle) * x + shift_v) / wavelength
    drawn = np.empty((len(kinds), *shape), np.float32)
    for kind, field in enumerate(TEXTURES.values()):
        rows = kinds == kind
        drawn[rows] = field(u[rows], v[rows])
    # Without this the share of bright to dark and the softness of the edges give the kind away to random features.
    drawn -= drawn.mean((1, 2), keepdims=True)
    drawn /= drawn.std((1, 2), keepdims=True) + np.float32(1e-6)
    return drawn


def _soft(field: Plane, sharpness: float = 3.0) -> Plane:
    """Squash to (-1, 1), which turns smooth waves into regions with soft edges."""
    soft: Plane = np.tanh(field * np.float32(sharpness))
    return soft


def _sin(turns: Plane) -> Plane:
    wave: Plane = np.sin(turns * _TAU)
    return wave


def _centred(turns: Plane) -> Plane:
    """Signed distance to the nearest whole number, in (-.5, .5]."""
    return turns - np.rint(turns)


def _stripes(u: Plane, v: Plane) -> Plane:
    return _soft(_sin(u))


def _checker(u: Plane, v: Plane) -> Plane:
    return _soft(_sin(u / 2) * _sin(v / 2), 12)


def _dots(u: Plane, v: Plane) -> Plane:
    return _soft(np.float32(0.29) - np.hypot(_centred(u), _centred(v)), 10)


def _rings(u: Plane, v: Plane) -> Plane:
    return _soft(_sin(np.hypot(u, v)))


def _zigzag(u: Plane, v: Plane) -> Plane:
    return _soft(_sin(u + 2 * np.abs(_centred(v / 2))))


def _bricks(u: Plane, v: Plane) -> Plane:
    # Bricks are 1.5 wavelengths long and .75 high, every other row is moved by half a brick.
    row = v / np.float32(0.75)
    along = u / np.float32(1.5) + np.rint(row) / 2
    across_edge = (0.5 - np.abs(_centred(row))) * np.float32(0.75)
    along_edge = (0.5 - np.abs(_centred(along))) * np.float32(1.5)
    return _soft(np.minimum(across_edge, along_edge) - np.float32(0.1), 12)


def _waves(u: Plane, v: Plane) -> Plane:
    return _soft(_sin(u + np.float32(0.65) * _sin(v / np.float32(3.2))))


def _weave(u: Plane, v: Plane) -> Plane:
    # Three sine waves whose directions are 120 degrees apart sum to alternating triangles.
    u, v = u / np.float32(1.3), v / np.float32(1.3)
    half, slant = np.float32(0.5), np.float32(np.sqrt(3) / 2)
    return _soft(_sin(u) + _sin(slant * v - half * u) - _sin(slant * v + half * u), 3)


TEXTURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "stripes": _stripes,
    "checker": _checker,
    "dots": _dots,
    "rings": _rings,
    "zigzag": _zigzag,
    "bricks": _bricks,
    "waves": _waves,
    "weave": _weave,
}
"""The eight kinds: functions of coordinates (u, v) in wavelengths, onto (-1, 1). The order is the class index."""
