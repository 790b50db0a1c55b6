"""The embedded clips: shapes that drift together in one of eight directions, drawn by formula.

A single frame says nothing about the direction, and neither does the mean of all: shapes lie anywhere, are bright or dark by
chance, and leave the picture on one side to come back on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

VERSION = 1
"""Part of the cache key: raise it whenever a change alters a single pixel."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

DIRECTIONS = ("right", "right-down", "down", "left-down", "left", "left-up", "up", "right-up")
"""Where the shapes move, in steps of 45 degrees. The order is the class index."""

_CHUNK = 32  # clips at a time: the working set stays in the processor's cache

Plane = NDArray[np.floating[Any]]
"""Intensities or coordinates, float32 throughout."""


class Clips(NamedTuple):
    """Drawn clips and, for each factor, the class index of every clip."""

    frames: UInt8[ndarray, "N T H W"]
    labels: dict[str, Int64[ndarray, " N"]]


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


def draw_clips(
    count: int,
    size: int = 48,
    frames: int = 16,
    noise: float = 0.04,
    seed: int = 0,
    split: str = "train",
    number: int = 5,
    radius: tuple[float, float] = (5, 8),
    speed: tuple[float, float] = (0.8, 2.0),
    clutter: float = 0.0,
    jitter: float = 0.0,
    field: bool = False,
    norm: bool = True,
    edges: float = 2.5,
    contrast: float = 0.18,
    grain: float = 0.08,
) -> Clips:
    streams = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)).spawn(2)
    pairs = np.random.default_rng(streams[0]).permutation(np.arange(count) % (len(DIRECTIONS) * len(SHAPES)))
    labels = {
        "direction": (pairs % len(DIRECTIONS)).astype(np.int64),
        "shape": (pairs // len(DIRECTIONS)).astype(np.int64),
    }
    pixels = np.empty((count, frames, size, size), np.uint8)
    starts = range(0, count, _CHUNK)
    for start, stream in zip(starts, streams[1].spawn(len(starts)), strict=True):
        part = slice(start, start + _CHUNK)
        rng = np.random.default_rng(stream)
        scene = (
            _field(labels["shape"][part], size, rng)
            if field
            else _scene(labels["shape"][part], size, rng, number, radius)
        )
        if norm:
            scene -= scene.mean((1, 2), keepdims=True)
            scene /= scene.std((1, 2), keepdims=True) + 1e-6
            scene *= contrast
        n = len(scene)
        angle = labels["direction"][part] * (np.pi / 4)
        pace = rng.uniform(*speed, n)
        velocity = np.stack([np.sin(angle), np.cos(angle)], -1) * pace[:, None]
        clip = _drift(scene, velocity, frames)
        if clutter:
            back = _clutter(n, size, rng, grain)
            clip = clip + clutter * back[:, None]
        clip = clip + 0.5
        if jitter:
            cells = size // 8
            j = rng.standard_normal((n, 1, cells, cells), dtype=np.float32) * np.float32(jitter)
            clip = clip + j.repeat(8, 2).repeat(8, 3)
        clip += noise * rng.standard_normal(clip.shape, dtype=np.float32)
        pixels[part] = np.rint(clip.clip(0, 1) * 255)
    return Clips(pixels, labels)


def _scene(kinds, size, rng, number, radius):
    n = len(kinds)
    axis = np.arange(size, dtype=np.float32)
    image = np.zeros((n, size, size), np.float32)
    for _ in range(number):

        def uniform(low, high):
            return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

        x0, y0, r, turn = uniform(0, size), uniform(0, size), uniform(*radius), uniform(0, 2 * np.pi)
        tone = uniform(0.2, 0.42) * rng.choice(np.array([-1, 1], np.float32), (n, 1, 1))
        half = size / 2
        x = (axis[None, None, :] - x0 + half) % size - half
        y = (axis[None, :, None] - y0 + half) % size - half
        u, v = (np.cos(turn) * x + np.sin(turn) * y) / r, (np.cos(turn) * y - np.sin(turn) * x) / r
        d = np.empty_like(u)
        for kind, field in enumerate(SHAPES.values()):
            rows = kinds == kind
            d[rows] = field(u[rows], v[rows])
        cover = 1 / (1 + np.exp(np.clip(d * r * 2.5, -30, 30)))
        image = image * (1 - cover) + tone * cover
    return image


def _drift(scene, velocity, frames):
    n, size, _ = scene.shape
    f = np.fft.rfft2(scene)
    ky, kx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    t = np.arange(frames)
    phase_y = np.exp(-2j * np.pi * ky[None, None] * (velocity[:, :1, None] * t[None, :, None]))
    phase_x = np.exp(-2j * np.pi * kx[None, None] * (velocity[:, 1:, None] * t[None, :, None]))
    moved = f[:, None] * phase_y[..., :, None] * phase_x[..., None, :]
    return np.fft.irfft2(moved, s=(size, size)).astype(np.float32)


def _clutter(n, size, rng, grain):
    f = np.fft.rfft2(rng.standard_normal((n, size, size)))
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    z = np.fft.irfft2(f * np.exp(-((k / grain) ** 2)), s=(size, size))
    return (z / z.std((1, 2), keepdims=True)).astype(np.float32)


def _field(kinds, size, rng):
    n = len(kinds)
    f = np.fft.rfft2(rng.standard_normal((n, size, size)))
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    peak = (1 / (11 + 0 * kinds))[:, None, None]
    return np.tanh(2 * _unit(np.fft.irfft2(f * np.exp(-(((k - peak) / 0.02) ** 2)), s=(size, size)))).astype(np.float32)


def _unit(z):
    return z / z.std((1, 2), keepdims=True)
