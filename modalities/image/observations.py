"""Sets of images: as files on disk, or in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from modalities.image.decode import decode_jpeg, to_channels
from modalities.image.transforms import centre_view, random_resized_crop, resize, to_tensor
from modalities.image.views import Look, Looks
from worldjepa.data import Labels, Observations
from worldjepa.data.files import Files
from worldjepa.data.mapped import packed, unpacked
from worldjepa.data.paths import Kind, PathTable
from worldjepa.data.pictures import read_image
from worldjepa.data.views import Single, Views
from worldjepa.errors import UserError

KIND = Kind("images", (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))
"""The files that are taken for images."""


class View(NamedTuple):
    """How pictures are brought to one shape."""

    size: int
    """Side of the square views, in pixels."""
    channels: int
    """1 for grey, 3 for RGB."""
    crop_scale: tuple[float, float]
    """Range of the area of training crops, as a fraction of the image."""
    looks: Looks | None = None
    """How several views are made; None for one crop."""

    @property
    def count(self) -> int:
        """How many views training sees."""
        return 1 if self.looks is None else self.looks.count


def checked_looks(views: Views | None) -> Looks | None:
    """How several views of images are made; None for one view, as the data make it.

    Raises:
        UserError: they are views of something else.
    """
    if views is None or isinstance(views, Single):
        return None
    if isinstance(views, Look):
        return Looks([views])
    if not isinstance(views, Looks):
        raise UserError(f"{type(views).__name__} makes no views of images; choose views=none, vicreg or lejepa")
    return views


def checked_view(size: int, channels: int, crop_scale: Sequence[float], views: Views | None = None) -> View:
    """Build a view.

    Raises:
        UserError: a value is out of its range.
    """
    if size < 1:
        raise UserError(f"size must be at least 1 pixel: {size}")
    if channels not in (1, 3):
        raise UserError(f"channels must be 1 (grey) or 3 (RGB): {channels}")
    if len(crop_scale) != 2 or not 0 < crop_scale[0] <= crop_scale[1] <= 1:
        raise UserError(f"crop_scale must be two fractions, 0 < smallest <= largest <= 1: {list(crop_scale)}")
    return View(int(size), int(channels), (float(crop_scale[0]), float(crop_scale[1])), checked_looks(views))


class ImageFiles(Files):
    """Image files below one folder, decoded when they are asked for.

    Args:
        root: the folder that the paths are relative to.
        paths: the files.
        view: what is made of them.
        factors: what is known about each file.
    """

    def __init__(self, root: str, paths: PathTable, view: View, factors: dict[str, Labels] | None = None):
        super().__init__(root, paths, factors)
        self.view = view
        self.views = view.count
        self.shape = (view.channels, view.size, view.size)

    def observe(self, index: int, rng: torch.Generator | None = None) -> UInt8[Tensor, "... C H W"]:
        """A random crop or the several views that are asked for; the evaluation view without `rng`.

        Raises:
            Unreadable: the file cannot be decoded; the message names it.
        """
        return read_image(self.path(index), partial(look, view=self.view, rng=rng))

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> ImageFiles:
        """Other images below the same folder, in the same view."""
        return ImageFiles(self.root, paths, self.view, factors)


class ArrayObservations(Observations):
    """Images that are in memory, or memory-mapped: then workers map the same file instead of copying it.

    Args:
        images: uint8 `[N, C, H, W]`, with 1 or 3 channels.
        factors: what is known about each image.
        channels: channels of the observations; grey images can be repeated to 3.
        crop_scale: range of the area of random crops; without it, images are not augmented.
        fingerprint: identifies the images; by default computed from them.
        looks: how several views are made, in place of one crop.
        size: side of the observations, by default that of the images; they must be square then.

    Raises:
        UserError: the shape or the type of the images does not fit.
    """

    def __init__(
        self,
        images: UInt8[ndarray, "N C H W"],
        factors: dict[str, Labels] | None = None,
        channels: int | None = None,
        crop_scale: tuple[float, float] | None = None,
        fingerprint: str | None = None,
        looks: Looks | None = None,
        size: int | None = None,
    ):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UserError(
                f"images must be uint8 [N, C, H, W] with 1 or 3 channels, not {images.dtype} {list(images.shape)}"
            )
        _, stored, height, width = images.shape
        channels = stored if channels is None else channels
        if stored not in (1, channels):
            raise UserError(f"images with {stored} channels cannot be shown with {channels}")
        if not (crop_scale is looks is size is None) and height != width:
            raise UserError(f"crops are square, the images are {height} x {width}")
        self.images, self.factors, self.crop_scale, self.looks = images, factors or {}, crop_scale, looks
        self.views = 1 if looks is None else looks.count
        self.in_memory = crop_scale is None and looks is None  # crops are worth a worker
        self.shape = (channels, height, width) if size is None else (channels, size, size)
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.images)

    def observe(self, index: int, rng: torch.Generator | None = None) -> UInt8[Tensor, "... C H W"]:
        """The whole image; or, where `rng` is given, a random crop or the views that are switched on."""
        channels, size, _ = self.shape
        image = np.broadcast_to(self.images[index], (channels, *self.images.shape[2:]))
        if self.looks is not None and rng is not None:
            return self.looks.views(torch.from_numpy(np.array(image)), size, rng)
        if self.crop_scale is None or rng is None:
            whole = torch.from_numpy(np.array(image))
            return whole if whole.shape == self.shape else resize(whole, size)
        picture = Image.fromarray(np.ascontiguousarray(image[0] if channels == 1 else image.transpose(1, 2, 0)))
        return random_resized_crop(picture, size, channels, rng, self.crop_scale)

    def fingerprint(self) -> str:
        """The given fingerprint, or SHA-256 of the images; with the number of channels shown."""
        if self._fingerprint is None:
            self._fingerprint = hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()
        return hashlib.sha256(f"{self._fingerprint} {self.shape}".encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": packed(self.images)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, images=unpacked(state["images"]))


def look(image: Image.Image, view: View, rng: torch.Generator | None) -> UInt8[Tensor, "... C H W"]:
    """What is made of a picture: for training, or without `rng` for evaluation."""
    if rng is None:
        return centre_view(image, view.size, view.channels)
    if view.looks is not None:
        pixels = decode_jpeg(image, view.channels)  # once, for all views
        pixels = to_tensor(to_channels(image, view.channels)) if pixels is None else pixels
        return view.looks.views(pixels, view.size, rng)
    return random_resized_crop(image, view.size, view.channels, rng, view.crop_scale)
