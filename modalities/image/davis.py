"""DAVIS 2017: things to follow through videos, of which each frame is a picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from modalities.image.decode import to_channels
from modalities.image.observations import ImageFiles, checked_view
from modalities.image.transforms import to_tensor
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.data.labels import read_lines
from worldjepa.data.paths import PathTable
from worldjepa.data.pictures import read_image
from worldjepa.data.pixels import Tracked, Tracking
from worldjepa.data.tables import archive_folder, existing, required
from worldjepa.data.views import Views
from worldjepa.errors import Unreadable, UserError

FRAMES, OBJECTS, LISTS = "JPEGImages/480p", "Annotations/480p", "ImageSets/2017"
LAYOUT = (
    f"DAVIS 2017 as it is unpacked: {FRAMES}/NAME/00000.jpg, {OBJECTS}/NAME/00000.png and {LISTS}/{{train,val}}.txt"
)
VOID = 255
"""Pixels with this number belong to nothing."""


class DAVIS(DataSource, Tracking):
    """DAVIS 2017: frames of videos to learn from, and 30 videos to follow things in.

    There are no classes, so no probes while training; `sequences` gives what following takes.

    Args:
        root: the folder that the archive unpacks to, or the one that it is in.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the frame (I-JEPA, official configurations).
        max_bad_fraction: training stops when more than this share of the frames it has seen cannot be read.
        views: how several views of a frame are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: the layout is another one, or a setting is out of its range.
    """

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] = (0.3, 1.0),
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels = channels
        self.view = checked_view(size, channels, crop_scale, views)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = archive_folder(root, "DAVIS")
        self._train = [path for name in self.names("train") for path in self._frames(name)]

    def train(self) -> ImageFiles:
        """All frames of the training videos."""
        return ImageFiles(self.root, PathTable(self._train), self.view)

    def probe(self) -> None:
        """None: there are no classes."""

    def names(self, split: str) -> list[str]:
        """The videos of `train` or `val` that are there, in the order of the published list.

        Raises:
            UserError: the list or all its videos are missing.
        """
        where = required(self.root, [f"{LISTS}/{split}.txt"], LAYOUT)
        names = read_lines(where, "data.root")
        there = existing(self.root, [f"{FRAMES}/{name}" for name in names], "videos", where)
        return [names[i] for i in there.tolist()]

    def sequences(self, size: tuple[int, int], split: str = "val") -> Iterator[Tracked]:
        """The videos of a split, one after another, their frames resized to `size`, rows and columns.

        Raises:
            UserError: the list is missing, or a frame has no map of objects.
            Unreadable: a frame or a map cannot be read; the message names it.
        """
        for name in self.names(split):
            yield self.sequence(name, size)

    def frames(self, name: str) -> ImageFiles:
        """The frames of a video as single pictures, in square views."""
        return ImageFiles(self.root, PathTable(self._frames(name)), self.view)

    def extent(self, name: str) -> tuple[int, int]:
        """Rows and columns of a video's frames."""
        columns, rows = self._read(self._frames(name)[0], lambda image: torch.tensor(image.size)).tolist()
        return rows, columns

    def sequence(self, name: str, size: tuple[int, int]) -> Tracked:
        """One video; see `sequences`."""
        frames = self._frames(name)
        maps = [f"{OBJECTS}/{name}/{os.path.splitext(os.path.basename(path))[0]}.png" for path in frames]
        missing = next((path for path in maps if not os.path.isfile(os.path.join(self.root, path))), None)
        if missing is not None:
            raise UserError(f"{os.path.join(self.root, missing)} does not exist; expected {LAYOUT}")
        seen = [self._read(path, partial(_frame, size=size, channels=self.channels)) for path in frames]
        labels = [self._read(path, _objects) for path in maps]
        if len({tuple(one.shape) for one in labels}) > 1:
            raise Unreadable(f"{os.path.join(self.root, OBJECTS, name)}: its maps differ in size")
        return Tracked(name, torch.stack(seen), torch.stack(labels), int(labels[0].max()))

    def _read(self, path: str, use: Callable[[Image.Image], Tensor]) -> Tensor:
        return read_image(os.path.join(self.root, path), use)

    def _frames(self, name: str) -> list[str]:
        folder = os.path.join(self.root, FRAMES, name)
        found = sorted(frame for frame in os.listdir(folder) if frame.lower().endswith((".jpg", ".jpeg")))
        if not found:
            raise UserError(f"{folder} holds no frames; expected {LAYOUT}")
        return [f"{FRAMES}/{name}/{frame}" for frame in found]


def _frame(image: Image.Image, size: tuple[int, int], channels: int) -> UInt8[Tensor, "C h w"]:
    return to_tensor(to_channels(image, channels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _objects(image: Image.Image) -> Int64[Tensor, "H W"]:
    if image.mode not in ("L", "P"):
        raise Unreadable(f"a map of objects has a palette, not pixels of kind {image.mode}")
    found = np.asarray(image).astype(np.int64)
    return torch.from_numpy(np.where(found == VOID, 0, found))
