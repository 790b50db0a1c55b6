"""The embedded pattern set: grey images of eight kinds of texture, drawn by formula; no download.

Every part of an image says something about every other part, which is what prediction from context needs. The sign of
the contrast is random, so that every class has the same mean image, plain grey, and linear probes on pixels stay near
chance. Brightness and contrast are the same for every class too: what tells the classes apart is how things are arranged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from worldjepa.data.textures import TEXTURES, Plane, placed

VERSION = 2
"""Part of the cache key: raise it whenever a change alters a single pixel."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

CELL = 8
"""Side, in pixels, of the cells whose brightness is jittered."""

_CHUNK = 64  # images at a time: the working set stays in the processor's cache

PATTERNS = tuple(TEXTURES)
"""The eight kinds. The order is the class index."""


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

    image = placed(labels, (size, size), angle, wavelength, shift_u, shift_v)
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
