"""The embedded shape set: coloured objects drawn from signed distance functions, every factor known.

Position, scale, angle, hue and texture are independent of the shape, so linear probes on raw pixels name the shape,
or the number of objects, hardly better than chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from modalities.image.patterns import SPLITS, Images, Plane

VERSION = 1
"""Part of the cache key: raise it whenever a change alters a single pixel."""

MOST_OBJECTS = 4
BINS = 8
"""Classes that a continuous factor (x, y, scale) is cut into, equally wide."""

SINGLE_SCALE = (0.34, 0.60)
SEVERAL_SCALE = (0.20, 0.32)
"""Diameter as a fraction of the image's side: for one object, and where up to four must stay apart."""

SINGLE_RANGE = (0.25, 0.75)
SEVERAL_RANGE = (0.14, 0.86)
"""Where centres may lie, as fractions of the image's side."""

HUES = ("red", "orange", "lime", "green", "teal", "blue", "violet", "pink")
TEXTURES = ("plain", "stripes", "checker", "dots", "shaded")

_CHUNK = 64
_LAYOUTS = 24  # candidate layouts, of which the one with the widest gaps is taken


def draw_shapes(
    count: int, size: int = 32, objects: tuple[int, int] = (1, 1), seed: int = 0, split: str = "train"
) -> Images:
    """Draw `count` colour images of `size` x `size` pixels; the same arguments give the same images.

    With `objects` (1, 1) every image holds one object and the labels are shape, hue, texture, x, y and scale. With a
    wider range of numbers, the objects of an image are drawn independently of one another and the only label is
    `"count"`, the number of objects less the smallest number. Shapes and counts are balanced to within one image.
    """
    streams = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *objects)).spawn(2)
    single = objects == (1, 1)
    kinds = len(SHAPES) if single else objects[1] - objects[0] + 1
    headline = np.random.default_rng(streams[0]).permutation(np.arange(count) % kinds).astype(np.int64)
    pixels = np.empty((count, 3, size, size), np.uint8)
    labels = {name: np.empty(count, np.int64) for name in (SINGLE_FACTORS if single else ("count",))}
    starts = range(0, count, _CHUNK)
    for start, stream in zip(starts, streams[1].spawn(len(starts)), strict=True):
        part = slice(start, start + _CHUNK)
        rng = np.random.default_rng(stream)
        n = len(headline[part])
        scene = _Scene(n, objects[1], rng)
        if single:
            scene.shape[:, 0] = headline[part]
        present = np.arange(objects[1]) < (1 if single else headline[part, None] + objects[0])  # [n, K]
        pixels[part] = _render(scene, np.broadcast_to(present, scene.shape.shape), size, rng)
        for name, column in labels.items():
            column[part] = headline[part] if name == "count" else scene.factor(name)
    return Images(pixels, labels)


def grey(pixels: UInt8[ndarray, "N 3 H W"]) -> UInt8[ndarray, "N 1 H W"]:
    """The luma of colour images (ITU-R BT.601 weights), rounded."""
    luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), pixels, axes=(0, 1))  # [N, H, W]
    return np.rint(luma).astype(np.uint8)[:, None]


class _Scene:
    """The factors of K objects in each of n images; arrays are `[n, K]`."""

    def __init__(self, n: int, k: int, rng: np.random.Generator):
        self.low, self.high = SINGLE_SCALE if k == 1 else SEVERAL_SCALE
        self.near, self.far = SINGLE_RANGE if k == 1 else SEVERAL_RANGE
        self.shape = rng.integers(len(SHAPES), size=(n, k))
        self.hue = rng.integers(len(HUES), size=(n, k))
        self.texture = rng.integers(len(TEXTURES), size=(n, k))
        self.scale = rng.uniform(self.low, self.high, (n, k))
        self.angle = rng.uniform(0, 2 * np.pi, (n, k))
        self.x, self.y = _layout(n, k, self.near, self.far, rng)

    def factor(self, name: str) -> Int64[ndarray, " n"]:
        """The class of the first object in each image."""
        values: NDArray[np.float64] = getattr(self, name)[:, 0]
        if name in ("x", "y"):
            values = _binned(values, self.near, self.far)
        elif name == "scale":
            values = _binned(values, self.low, self.high)
        return values.astype(np.int64)


def _layout(
    n: int, k: int, near: float, far: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres x and y, `[n, k]`. All k places are drawn even if fewer are used: places do not tell the count."""
    places = rng.uniform(near, far, (n, _LAYOUTS if k > 1 else 1, k, 2))
    gaps = np.linalg.norm(places[:, :, :, None] - places[:, :, None], axis=-1) + np.eye(k) * 9  # [n, L, k, k]
    best = places[np.arange(n), gaps.min((2, 3)).argmax(1)]  # [n, k, 2]
    return best[..., 0], best[..., 1]


def _binned(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return np.minimum(np.floor((values - low) / (high - low) * BINS), BINS - 1)


def _render(
    scene: _Scene, present: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> UInt8[ndarray, "n 3 size size"]:
    """Paint the objects that are present, in order, on a background with a gradient; add white noise.

    Half of the images are drawn in the opposite hues and then turned into their negatives. Objects are therefore as
    bright as backgrounds on average, and the size of the painted area does not show in the mean of any pixel.
    """
    n, k = present.shape
    inverted = rng.random(n) < 0.5
    axis = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size))[None]
    opposite = len(HUES) // 2
    canvas = _background(n, axis, rng)  # [n, 3, H, W]
    for j in range(k):
        centre_x, centre_y, scale, angle = (
            values[:, j, None, None].astype(np.float32) for values in (scene.x, scene.y, scene.scale, scene.angle)
        )
        radius = scale / 2
        x, y = (axis[:, None, :] - centre_x) / radius, (axis[:, :, None] - centre_y) / radius
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = cos * x + sin * y, cos * y - sin * x  # [n, H, W], the object's own frame: its radius is 1
        distance = _pick(list(SHAPES.values()), scene.shape[:, j], u, v) * radius * np.float32(size)  # in pixels
        cover = (np.float32(0.5) - distance).clip(0, 1) * present[:, j, None, None]
        shade = _pick(_SHADES, scene.texture[:, j], u, v)
        colour = _colour((scene.hue[:, j] + opposite * inverted) % len(HUES), rng)[:, :, None, None] * shade[:, None]
        canvas += cover[:, None] * (colour - canvas)
    canvas[inverted] = 1 - canvas[inverted]
    canvas += np.float32(0.03) * rng.standard_normal(canvas.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = np.rint(canvas.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _background(n: int, axis: Plane, rng: np.random.Generator) -> Plane:
    """Nearly grey planes of any brightness with a slope in any direction, `[n, 3, H, W]`."""

    def uniform(low: float, high: float, channels: int) -> Plane:
        return rng.uniform(low, high, (n, channels, 1, 1)).astype(np.float32)

    level, tint = uniform(0.1, 0.9, 1), uniform(-0.08, 0.08, 3)
    slope_x, slope_y = uniform(-0.3, 0.3, 1), uniform(-0.3, 0.3, 1)
    x, y = axis[None, :, None, :] - np.float32(0.5), axis[None, :, :, None] - np.float32(0.5)
    return level + tint + slope_x * x + slope_y * y


def _colour(hue: Int64[ndarray, " n"], rng: np.random.Generator) -> Float32[ndarray, "n 3"]:
    """RGB colours of the given hues, jittered within the hue, with random saturation and value."""
    n = len(hue)
    turns = (hue + rng.uniform(-0.25, 0.25, n)) / len(HUES)
    saturation, value = rng.uniform(0.65, 1, (n, 1)), rng.uniform(0.55, 1, (n, 1))
    offsets = np.array([0, 1 / 3, 2 / 3])  # red peaks at 0 turns, green at 1/3, blue at 2/3
    away = np.abs((turns[:, None] - offsets + 0.5) % 1 - 0.5)  # [n, 3] in turns
    pure = (2 - 6 * away).clip(0, 1)
    colours: Plane = (value * (1 - saturation * (1 - pure))).astype(np.float32)
    return colours


def _pick(fields: Sequence[Callable[[Plane, Plane], Plane]], kinds: Int64[ndarray, " n"], u: Plane, v: Plane) -> Plane:
    """For each image the field of its kind, `[n, H, W]`."""
    out = np.empty_like(u)
    for kind, field in enumerate(fields):
        rows = kinds == kind
        out[rows] = field(u[rows], v[rows])
    return out


def _disc(u: Plane, v: Plane) -> Plane:
    return np.hypot(u, v) - np.float32(0.9)


def _square(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.76)


def _triangle(u: Plane, v: Plane) -> Plane:
    side = np.float32(np.sqrt(3) / 2)
    return np.maximum(side * np.abs(u) + v / 2, -v) - np.float32(0.5)


def _star(u: Plane, v: Plane) -> Plane:
    # Fold the plane into one tenth of the star; there its edge is the straight line from a tip to the notch beside it.
    tip, notch, tenth = 1.0, 0.42, np.pi / 5
    angle = np.abs((np.arctan2(u, -v) + np.float32(tenth)) % np.float32(2 * tenth) - np.float32(tenth))
    radius = np.hypot(u, v)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    edge_x, edge_y = notch * np.cos(tenth) - tip, notch * np.sin(tenth)
    length = np.hypot(edge_x, edge_y)
    distance: Plane = ((along - np.float32(tip)) * np.float32(edge_y) - across * np.float32(edge_x)) / np.float32(
        length
    )
    return distance


def _cross(u: Plane, v: Plane) -> Plane:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(long - np.float32(0.95), short - np.float32(0.28))


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(np.hypot(u, v) - np.float32(0.73)) - np.float32(0.22)


def _crescent(u: Plane, v: Plane) -> Plane:
    distance: Plane = np.maximum(np.hypot(u, v) - np.float32(0.95), np.float32(0.78) - np.hypot(u - np.float32(0.5), v))
    return distance


def _bar(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u) - np.float32(1), np.abs(v) - np.float32(0.3))


SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "bar": _bar,
}
"""Signed distances (negative inside) in a frame where the object's radius is 1. The order is the class index."""

_DARK = np.float32(0.45)  # brightness of the darker parts of a texture, relative to the object's colour


def _plain(u: Plane, v: Plane) -> Plane:
    return np.ones_like(u)


def _striped(u: Plane, v: Plane) -> Plane:
    return np.where(np.sin(v * 8) > 0, 1, _DARK).astype(np.float32)


def _checked(u: Plane, v: Plane) -> Plane:
    return np.where(np.sin(u * 6) * np.sin(v * 6) > 0, 1, _DARK).astype(np.float32)


def _dotted(u: Plane, v: Plane) -> Plane:
    spot = np.hypot(u * 2 - np.rint(u * 2), v * 2 - np.rint(v * 2))
    return np.where(spot > 0.3, 1, _DARK).astype(np.float32)


def _shaded(u: Plane, v: Plane) -> Plane:
    return np.float32(0.7) + np.float32(0.3) * u.clip(-1, 1)


_SHADES = [_plain, _striped, _checked, _dotted, _shaded]

SINGLE_FACTORS = ("shape", "hue", "texture", "x", "y", "scale")
