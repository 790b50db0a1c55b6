"""The embedded pattern set: grey images of eight kinds of texture, drawn by formula; no download.

Every part of an image says something about every other part, which is what prediction from context needs. The sign of
the contrast is random, so that every class has the same mean image, plain grey, and linear probes on pixels stay near
chance. Brightness and contrast are the same for every class too: what tells the classes apart is how things are arranged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

VERSION = 2
"""Part of the cache key: raise it whenever a change alters a single pixel."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

CELL = 8
"""Side, in pixels, of the cells whose brightness is jittered."""

_CHUNK = 64  # images at a time: the working set stays in the processor's cache
_TAU = np.float32(2 * np.pi)

Plane = NDArray[np.floating[Any]]
"""Intensities or coordinates of images, `[n, H, W]`, in float32 throughout."""


class Images(NamedTuple):
    """Drawn images and, for each factor, the class index of every image."""

    pixels: UInt8[ndarray, "N C H W"]
    labels: dict[str, Int64[ndarray, " N"]]


def draw_patterns(count: int, size: int = 64, noise: float = 0.08, seed: int = 0, split: str = "train") -> Images:
    """Draw `count` grey images of `size` x `size` pixels; the same arguments give the same images.

    Wavelength 9-18 px, rotation 0-180 degrees, phase +-20 px, sign at random, standard deviation of the pattern .20 to
    .36 around grey, brightness jitter .07 per cell of 8 px, and white noise of standard deviation `noise` times a random
    factor of .5 to 1.5. Intensities run from 0 to 1 before they are stored as bytes. The labels are `"pattern"`; classes
    are balanced to within one image.
    """
    streams = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)).spawn(2)
    labels = np.random.default_rng(streams[0]).permutation(np.arange(count) % len(PATTERNS)).astype(np.int64)
    pixels = np.empty((count, 1, size, size), np.uint8)
    starts = range(0, count, _CHUNK)
    for start, stream in zip(starts, streams[1].spawn(len(starts)), strict=True):
        part = slice(start, start + _CHUNK)
        drawn = _draw_chunk(labels[part], size, noise, np.random.default_rng(stream))
        pixels[part, 0] = np.rint(drawn.clip(0, 1) * 255)
    return Images(pixels, {"pattern": labels})


def _draw_chunk(labels: Int64[ndarray, " n"], size: int, noise: float, rng: np.random.Generator) -> Plane:
    """One chunk of intensities, `[n, size, size]`."""
    n = len(labels)

    def uniform(low: float, high: float) -> Plane:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    angle, wavelength = uniform(0, np.pi), uniform(9, 18)
    shift_u, shift_v = uniform(-20, 20), uniform(-20, 20)
    contrast = uniform(0.2, 0.36) * rng.choice(np.array([-1, 1], np.float32), (n, 1, 1))
    grain = np.float32(noise) * uniform(0.5, 1.5)

    axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    x, y = axis[None, None, :], axis[None, :, None]
    u = (np.cos(angle) * x + np.sin(angle) * y + shift_u) / wavelength  # [n, H, W], in wavelengths
    v = (np.cos(angle) * y - np.sin(angle) * x + shift_v) / wavelength

    image = np.empty((n, size, size), np.float32)
    for kind, field in enumerate(PATTERNS.values()):
        rows = labels == kind
        image[rows] = field(u[rows], v[rows])
    # Without this the share of bright to dark and the softness of the edges give the class away to random features.
    image -= image.mean((1, 2), keepdims=True)
    image /= image.std((1, 2), keepdims=True) + np.float32(1e-6)
    image *= contrast
    image += np.float32(0.5)
    image += _cell_jitter(n, size, rng)
    image += grain * rng.standard_normal((n, size, size), dtype=np.float32)
    return image


def _cell_jitter(n: int, size: int, rng: np.random.Generator) -> Plane:
    """Brightness offsets that are constant within cells, `[n, size, size]`: a patch's mean must give nothing away."""
    cells = -(-size // CELL)
    jitter = rng.standard_normal((n, cells, cells), dtype=np.float32) * np.float32(0.07)
    spread: Plane = jitter.repeat(CELL, 1).repeat(CELL, 2)[:, :size, :size]
    return spread


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


PATTERNS: dict[str, Callable[[Plane, Plane], Plane]] = {
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
