"""The embedded clips: textures that drift in one of eight directions behind still grain, drawn by formula.

A single frame says nothing about the direction, and the clip as a list of pixels next to nothing: textures lie anywhere, turned
anyhow, bright and dark exchanged at random. The grain stands still and is stronger than the texture; on top, every frame has
noise of its own. Neither can be predicted from elsewhere, while the drifting texture can: to say what a hidden part shows, one
has to know how the texture moves.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray

from worldjepa.data.textures import TEXTURES, Plane, placed

VERSION = 4
"""Part of the cache key: raise it whenever a change alters a single pixel, of the drawing or of the encoding."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

DIRECTIONS = ("right", "right-down", "down", "left-down", "left", "left-up", "up", "right-up")
"""Where the texture moves, in steps of 45 degrees. The order is the class index."""

KINDS = ("checker", "dots", "rings", "zigzag", "bricks", "weave")
"""Textures whose motion shows whatever its direction: stripes that slide along themselves stand still. The order is the class
index."""

WAVELENGTH = (9.0, 18.0)
"""From one part of the texture to the next, in pixels."""
SPEED = (0.8, 2.0)
"""How far it moves from frame to frame, in pixels."""
CONTRAST = (0.15, 0.25)
"""Standard deviation of the texture, the same in every frame of a clip."""
GRAIN = 0.25
"""That of the grain, which is white."""

_CHUNK = 32  # clips at a time: the working set stays in the processor's cache


def clip_labels(count: int, seed: int = 0, split: str = "train") -> dict[str, Int64[ndarray, " N"]]:
    """The class of every clip by factor, `"direction"` and `"texture"`; all pairs occur equally often, to within one clip."""
    kinds = len(KINDS)
    pairs = np.random.default_rng(_streams(seed, split)[0]).permutation(np.arange(count) % (len(DIRECTIONS) * kinds))
    return {"direction": (pairs // kinds).astype(np.int64), "texture": (pairs % kinds).astype(np.int64)}


def draw_clips(
    count: int, size: int = 48, frames: int = 16, noise: float = 0.2, seed: int = 0, split: str = "train"
) -> UInt8[ndarray, "N T H W"]:
    """Draw grey clips; the same arguments give the same clips, whose classes are `clip_labels`.

    Intensities run from 0 to 1 before they are stored as bytes: a texture of standard deviation `CONTRAST` around grey, grain
    of `GRAIN` that is the same in all frames, and white noise of `noise`, anew in every frame.
    """
    labels, stream = clip_labels(count, seed, split), _streams(seed, split)[1]
    pixels = np.empty((count, frames, size, size), np.uint8)
    starts = range(0, count, _CHUNK)
    for start, part_stream in zip(starts, stream.spawn(len(starts)), strict=True):
        part = slice(start, start + _CHUNK)
        rng = np.random.default_rng(part_stream)
        clips = _drifting(labels["texture"][part], labels["direction"][part], (frames, size), rng)
        clips += np.float32(0.5)
        clips += np.float32(GRAIN) * rng.standard_normal((len(clips), 1, size, size), dtype=np.float32)
        clips += np.float32(noise) * rng.standard_normal(clips.shape, dtype=np.float32)
        pixels[part] = np.rint(clips.clip(0, 1) * 255)
    return pixels


def _streams(seed: int, split: str) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)).spawn(2)


def _drifting(
    kinds: Int64[ndarray, " n"], directions: Int64[ndarray, " n"], extent: tuple[int, int], rng: np.random.Generator
) -> Float32[ndarray, "n T H W"]:
    """Textures that move, around 0."""
    n, (frames, size) = len(kinds), extent

    def uniform(low: float, high: float) -> Plane:
        return rng.uniform(low, high, (n, 1)).astype(np.float32)

    turn, wavelength = uniform(0, np.pi), uniform(*WAVELENGTH)
    shift_u, shift_v = uniform(-20, 20), uniform(-20, 20)
    path = uniform(*SPEED) * np.arange(frames, dtype=np.float32)  # [n, T]
    # What moves along one direction of the picture moves along a turned one of the texture's own axes.
    course = (directions * (2 * np.pi / len(DIRECTIONS))).astype(np.float32)[:, None] - turn
    moved_u, moved_v = shift_u - path * np.cos(course), shift_v - path * np.sin(course)

    def each(values: Plane) -> Plane:
        return np.broadcast_to(values, (n, frames)).reshape(-1, 1, 1)  # [n*T, 1, 1]

    index = np.array([list(TEXTURES).index(kind) for kind in KINDS])[kinds]
    drawn = placed(index.repeat(frames), (size, size), each(turn), each(wavelength), each(moved_u), each(moved_v))
    clips = drawn.reshape(n, frames, size, size)
    contrast = uniform(*CONTRAST) * rng.choice(np.array([-1, 1], np.float32), (n, 1))
    clips *= contrast[..., None, None]
    return clips
