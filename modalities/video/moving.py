"""The embedded clips: shapes that drift together in one of eight directions behind still clouds, drawn by formula.

A single frame says nothing about the direction, and the clip as a list of pixels next to nothing: shapes lie anywhere, are
bright or dark by chance, and leave the picture on one side to come back on the other. The clouds, which stand still and are
stronger than the shapes, keep clips from being recognised by what they look like. What is left is motion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

VERSION = 2
"""Part of the cache key: raise it whenever a change alters a single pixel, of the drawing or of the encoding."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

DIRECTIONS = ("right", "right-down", "down", "left-down", "left", "left-up", "up", "right-up")
"""Where the shapes move, in steps of 45 degrees. The order is the class index."""

NUMBER = 12
"""Shapes of a clip, all of one kind."""
RADIUS = (3.0, 6.0)
"""Their size in pixels."""
SPEED = (0.8, 2.0)
"""How far they move from frame to frame, in pixels."""
CONTRAST = 0.17
"""Standard deviation of what the shapes add to the picture, the same for every clip."""
CLOUDS = 0.18
"""That of the clouds."""
CLOUD_SIZE = 12.0
"""About how large the clouds are, in pixels."""

_CHUNK = 32  # clips at a time: the working set stays in the processor's cache
_SHARPNESS = np.float32(
    2.5
)  # edges of shapes blur over less than a pixel: they must survive being moved by parts of one

Plane = NDArray[np.floating[Any]]
"""Intensities or coordinates, in float32 but for transforms."""


def clip_labels(count: int, seed: int = 0, split: str = "train") -> dict[str, Int64[ndarray, " N"]]:
    """The class of every clip by factor, `"direction"` and `"shape"`; all pairs occur equally often, to within one clip."""
    kinds = len(SHAPES)
    pairs = np.random.default_rng(_streams(seed, split)[0]).permutation(np.arange(count) % (len(DIRECTIONS) * kinds))
    return {"direction": (pairs // kinds).astype(np.int64), "shape": (pairs % kinds).astype(np.int64)}


def draw_clips(
    count: int, size: int = 48, frames: int = 16, noise: float = 0.12, seed: int = 0, split: str = "train"
) -> UInt8[ndarray, "N T H W"]:
    """Draw grey clips; the same arguments give the same clips, whose classes are `clip_labels`.

    Intensities run from 0 to 1 before they are stored as bytes: shapes of standard deviation `CONTRAST` around grey, clouds of
    `CLOUDS`, and white noise of `noise`, anew in every frame.
    """
    labels, stream = clip_labels(count, seed, split), _streams(seed, split)[1]
    pixels = np.empty((count, frames, size, size), np.uint8)
    starts = range(0, count, _CHUNK)
    for start, part_stream in zip(starts, stream.spawn(len(starts)), strict=True):
        part = slice(start, start + _CHUNK)
        rng = np.random.default_rng(part_stream)
        clips = _drifting(_shapes(labels["shape"][part], size, rng), labels["direction"][part], frames, rng)
        clips += np.float32(0.5) + _clouds(len(clips), size, rng)[:, None]
        clips += np.float32(noise) * rng.standard_normal(clips.shape, dtype=np.float32)
        pixels[part] = np.rint(clips.clip(0, 1) * 255)
    return pixels


def _streams(seed: int, split: str) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)).spawn(2)


def _shapes(kinds: Int64[ndarray, " n"], size: int, rng: np.random.Generator) -> Plane:
    """One picture a clip, `[n, size, size]`, of mean 0: shapes one over another, on a plane that closes on itself."""
    n = len(kinds)

    def uniform(low: float, high: float) -> Plane:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    axis, half = np.arange(size, dtype=np.float32), np.float32(size / 2)
    picture = np.zeros((n, size, size), np.float32)
    for _ in range(NUMBER):
        left, top, radius, turn = uniform(0, size), uniform(0, size), uniform(*RADIUS), uniform(0, 2 * np.pi)
        tone = uniform(0.5, 1) * rng.choice(np.array([-1, 1], np.float32), (n, 1, 1))
        x = (axis[None, None, :] - left + half) % size - half
        y = (axis[None, :, None] - top + half) % size - half
        u, v = (np.cos(turn) * x + np.sin(turn) * y) / radius, (np.cos(turn) * y - np.sin(turn) * x) / radius
        distance = np.empty_like(u)
        for kind, field in enumerate(SHAPES.values()):
            rows = kinds == kind
            distance[rows] = field(u[rows], v[rows])
        cover = 1 / (1 + np.exp((distance * radius * _SHARPNESS).clip(-30, 30)))
        picture += (tone - picture) * cover
    return _unit(picture) * np.float32(CONTRAST)


def _drifting(picture: Plane, directions: Int64[ndarray, " n"], frames: int, rng: np.random.Generator) -> Plane:
    """The pictures moving, `[n, frames, size, size]`: shifts by parts of a pixel are turns of the phases of the spectrum."""
    n, size, _ = picture.shape
    angle = directions * (2 * np.pi / len(DIRECTIONS))
    path = np.arange(frames) * rng.uniform(*SPEED, (n, 1))  # [n, frames]
    down, right = path * np.sin(angle)[:, None], path * np.cos(angle)[:, None]
    rows = np.exp(-2j * np.pi * np.fft.fftfreq(size) * down[..., None])  # [n, frames, size]
    columns = np.exp(-2j * np.pi * np.fft.rfftfreq(size) * right[..., None])  # [n, frames, size // 2 + 1]
    spectrum = np.fft.rfft2(picture)[:, None] * rows[..., :, None] * columns[..., None, :]
    return np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)


def _clouds(n: int, size: int, rng: np.random.Generator) -> Plane:
    """Smooth random pictures, `[n, size, size]`."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    spectrum = np.fft.rfft2(rng.standard_normal((n, size, size))) * np.exp(-((frequency * CLOUD_SIZE) ** 2))
    return (_unit(np.fft.irfft2(spectrum, s=(size, size))) * CLOUDS).astype(np.float32)


def _unit(pictures: Plane) -> Plane:
    """Each picture with mean 0 and standard deviation 1: brightness and contrast must give nothing away."""
    centred: Plane = pictures - pictures.mean((1, 2), keepdims=True)
    return centred / (centred.std((1, 2), keepdims=True) + np.float32(1e-6))


def _disc(u: Plane, v: Plane) -> Plane:
    return np.hypot(u, v) - np.float32(0.9)


def _square(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.8)


def _triangle(u: Plane, v: Plane) -> Plane:
    side = np.float32(np.sqrt(3) / 2)
    return np.maximum(side * np.abs(u) + v / 2, -v) - np.float32(0.5)


def _cross(u: Plane, v: Plane) -> Plane:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(long - np.float32(0.95), short - np.float32(0.3))


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(np.hypot(u, v) - np.float32(0.72)) - np.float32(0.22)


SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}
"""Signed distances (negative inside) in a frame where the shape's radius is 1. The order is the class index."""
