"""The data sets that are drawn by formula, and what they have in common: splits, cache and checks of settings."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from modalities.image.observations import ArrayObservations, checked_looks, checked_view
from modalities.image.patterns import PATTERNS, Images, draw_patterns
from modalities.image.patterns import VERSION as PATTERNS_VERSION
from modalities.image.shapes import BINS, HUES, MOST_OBJECTS, SHAPES, TEXTURES, draw_shapes, grey
from modalities.image.shapes import VERSION as SHAPES_VERSION
from modalities.image.views import Looks
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Arrays, Key, cached, fingerprint
from worldjepa.data.views import Views
from worldjepa.errors import UserError

PROBE_SIZES = {"train": 4_000, "val": 1_000, "test": 2_000}
"""Images in each split for probes."""

SMALLEST = 16
"""Side, in pixels, below which nothing can be recognised."""


class Patterns(DataSource):
    """Grey images of eight kinds of pattern, drawn on first use and cached; see `modalities.image.patterns`.

    The factor is `"pattern"`. Probes have 4,000 images for training, 1,000 for validation and 2,000 for testing.

    Args:
        size: side of the images in pixels.
        count: the number of images to learn from.
        noise: standard deviation of the noise, where intensities run from 0 to 1; varies from image to image.
        channels: 1, or 3 for three equal channels.
        seed: decides every image.
        cache: where to keep the images, by default `$WORLDJEPA_HOME/datasets`.
        augment: `crop` for random crops, as real images get them; None for the images as they are.
        views: how several views of an image are made for training, in place of that; the group `views` says.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        size: int = 64,
        count: int = 10_000,
        noise: float = 0.08,
        channels: int = 1,
        seed: int = 0,
        cache: str | None = None,
        augment: str | None = None,
        views: Views | None = None,
    ):
        if noise < 0:
            raise UserError(f"noise must not be negative: {noise}")
        self.size, self.count, self.noise, self.seed = _check_size(size), _check_count(count), float(noise), int(seed)
        self.channels, self.cache = checked_view(size, channels, (0.3, 1.0)).channels, cache
        self.crop_scale, self.looks = _check_augment(augment), checked_looks(views)

    def train(self) -> ArrayObservations:
        """The images to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits, none of which shares an image with another or with the training images."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in PROBE_SIZES.items()))

    def _split(self, split: str, count: int) -> ArrayObservations:
        return _observations(
            "patterns",
            {"version": PATTERNS_VERSION, "size": self.size, "noise": self.noise, "seed": self.seed},
            split,
            count,
            lambda: draw_patterns(count, self.size, self.noise, self.seed, split),
            {"pattern": list(PATTERNS)},
            self.channels,
            self.cache,
            self.crop_scale if split == "train" else None,
            self.looks if split == "train" else None,
        )


class Shapes(DataSource):
    """Coloured shapes with known factors, drawn on first use and cached; see `modalities.image.shapes`.

    With one object the factors are shape, hue, texture, x, y and scale. With `objects="1-4"` an image holds one to four
    objects, and the factor is `"count"`. Probes have 4,000 images for training, 1,000 for validation and 2,000 for
    testing.

    Args:
        size: side of the images in pixels.
        count: the number of images to learn from.
        channels: 3 for RGB, 1 for grey.
        objects: 1, or a range of numbers such as `"1-4"`.
        seed: decides every image.
        cache: where to keep the images, by default `$WORLDJEPA_HOME/datasets`.
        augment: `crop` for random crops, as real images get them; None for the images as they are.
        views: how several views of an image are made for training, in place of that; the group `views` says.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        size: int = 32,
        count: int = 10_000,
        channels: int = 3,
        objects: int | str = 1,
        seed: int = 0,
        cache: str | None = None,
        augment: str | None = None,
        views: Views | None = None,
    ):
        self.size, self.count, self.seed = _check_size(size), _check_count(count), int(seed)
        self.channels, self.cache = checked_view(size, channels, (0.3, 1.0)).channels, cache
        self.objects, self.crop_scale = _object_range(objects), _check_augment(augment)
        self.looks = checked_looks(views)

    def train(self) -> ArrayObservations:
        """The images to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits, none of which shares an image with another or with the training images."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in PROBE_SIZES.items()))

    def _split(self, split: str, count: int) -> ArrayObservations:
        def draw() -> Images:
            images = draw_shapes(count, self.size, self.objects, self.seed, split)
            return images if self.channels == 3 else Images(grey(images.pixels), images.labels)

        numbers = [str(number) for number in range(self.objects[0], self.objects[1] + 1)]
        bins = [f"{step}/{BINS}" for step in range(1, BINS + 1)]
        single = {
            "shape": list(SHAPES),
            "hue": list(HUES),
            "texture": list(TEXTURES),
            "x": bins,
            "y": bins,
            "scale": bins,
        }
        key = {"version": SHAPES_VERSION, "size": self.size, "channels": self.channels, "seed": self.seed}
        return _observations(
            "shapes",
            {**key, "objects": list(self.objects)},
            split,
            count,
            draw,
            single if self.objects == (1, 1) else {"count": numbers},
            self.channels,
            self.cache,
            self.crop_scale if split == "train" else None,
            self.looks if split == "train" else None,
        )


def _observations(
    name: str,
    settings: Key,
    split: str,
    count: int,
    draw: Callable[[], Images],
    classes: dict[str, list[str]],
    channels: int,
    folder: str | None,
    crop_scale: tuple[float, float] | None,
    looks: Looks | None,
) -> ArrayObservations:
    """One split of an embedded set, from the cache or drawn now.

    Args:
        name: the set.
        settings: what the images depend on besides the split and its size.
        split: the split.
        count: the number of images.
        draw: draws them.
        classes: the names of the classes of each factor; the first factor is the headline.
        channels: channels of the observations.
        folder: where to keep them instead of the default place.
        crop_scale: range of the area of random crops; None for no augmentation.
        looks: how several views are made, in place of one crop.
    """
    key = {"set": name, **settings, "split": split, "count": count}

    def make() -> Arrays:
        images = draw()
        return {"images": images.pixels, **{f"label_{factor}": index for factor, index in images.labels.items()}}

    arrays = cached(name, key, make, folder)
    factors = {
        factor: Labels(np.array(arrays[f"label_{factor}"], np.int64), names) for factor, names in classes.items()
    }
    return ArrayObservations(arrays["images"], factors, channels, crop_scale, fingerprint(key), looks)


def _check_size(size: int) -> int:
    """Return the size.

    Raises:
        UserError: it is too small.
    """
    if size < SMALLEST:
        raise UserError(f"size must be at least {SMALLEST} pixels: {size}")
    return int(size)


def _check_count(count: int) -> int:
    """Return the count.

    Raises:
        UserError: it is not positive.
    """
    if count < 1:
        raise UserError(f"count must be at least 1: {count}")
    return int(count)


def _check_augment(augment: str | None) -> tuple[float, float] | None:
    """The range of crop areas, or None for no crops.

    Raises:
        UserError: the augmentation is not known.
    """
    if augment is None:
        return None
    if augment != "crop":
        raise UserError(f"augment must be 'crop' or null: '{augment}'")
    return (0.3, 1.0)


def _object_range(objects: int | str) -> tuple[int, int]:
    """The least and the largest number of objects.

    Raises:
        UserError: it is neither 1 nor a range within 1 to 4.
    """
    text = str(objects).strip()
    if text == "1":
        return (1, 1)
    match = re.fullmatch(r"(\d+)\s*-\s*(\d+)", text)
    if match and 1 <= int(match[1]) < int(match[2]) <= MOST_OBJECTS:
        return (int(match[1]), int(match[2]))
    raise UserError(f"objects must be 1, or a range of numbers from 1 to {MOST_OBJECTS} such as '1-4': '{objects}'")
