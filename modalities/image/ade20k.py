"""ADE20K as SceneParse publishes it: pictures in which every pixel has a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from modalities.image.observations import KIND, ImageFiles, checked_view
from modalities.image.transforms import centre
from worldjepa.data import DataSource, Labels
from worldjepa.data.files import check_share
from worldjepa.data.labels import IGNORED
from worldjepa.data.paths import PathTable, nearest_entry, scan
from worldjepa.data.pictures import read_image
from worldjepa.data.pixels import PixelObservations, PixelSplits, Segmented
from worldjepa.data.splits import VAL_FRACTION, stratified
from worldjepa.data.tables import archive_folder, existing
from worldjepa.data.views import Views
from worldjepa.errors import Unreadable, UserError

CLASSES = 150
LAYOUT = "images/{training,validation}/*.jpg and annotations/{training,validation}/*.png"


class LabelledPixels(ImageFiles, PixelObservations):
    """Pictures `images/*.jpg` with the classes of their pixels in `annotations/*.png`: 0 for none, 1 to 150 for a class."""

    def labels(self, index: int) -> Int64[Tensor, "H W"]:
        """The class of every pixel of the evaluation view, from 0; `worldjepa.data.labels.IGNORED` where none is given.

        Raises:
            Unreadable: the map cannot be decoded, is of another size than the picture, or holds other numbers.
        """
        shape = read_image(self.path(index), lambda image: torch.tensor(image.size)).tolist()
        return read_image(self._map(index), partial(_labels, shape=shape, size=self.view.size))

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> LabelledPixels:
        """Other pictures below the same folder, in the same view."""
        return LabelledPixels(self.root, paths, self.view, factors)

    def _map(self, index: int) -> str:
        return os.path.join(self.root, map_of(self.paths[index]))


class ADE20K(DataSource, Segmented):
    """ADE20K's SceneParse: 20,210 pictures to learn from and 2,000 to test on, with 150 classes of pixels.

    There are no classes of pictures, so no probes while training; `pixels` gives what segmentation takes. Settings are chosen
    on a fifth of the training pictures. Pictures without a map are counted and left out of it.

    Args:
        root: the folder that the archive unpacks to, or the one that it is in.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the picture (I-JEPA, official configurations).
        seed: decides which pictures settings are chosen on.
        max_bad_fraction: training stops when more than this share of the pictures it has seen cannot be read.
        views: how several views of a picture are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: the layout is another one, or a setting is out of its range.
    """

    pixel_classes = CLASSES

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels, self.seed = channels, seed
        self.view = checked_view(size, channels, crop_scale, views)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = archive_folder(root, "ADEChallengeData2016")
        self._train = self._split("training")

    def train(self) -> LabelledPixels:
        """All training pictures."""
        return self._train

    def probe(self) -> None:
        """None: there are no classes of whole pictures."""

    def pixels(self) -> PixelSplits:
        """Pictures with the classes of their pixels.

        Raises:
            UserError: `annotations/` or the pictures to test on are missing.
        """
        train, test = (self._mapped(files) for files in (self._train, self._split("validation")))
        apart = stratified(train.paths, np.zeros(len(train), np.int64), VAL_FRACTION, self.seed, "val")
        parts = [train.select(np.flatnonzero(rows)) for rows in (~apart, apart)]
        return PixelSplits(*parts, test)  # type: ignore[arg-type]

    def _split(self, name: str) -> LabelledPixels:
        folder = os.path.join(self.root, "images", name)
        if not os.path.isdir(folder):
            raise UserError(f"{folder} does not exist{nearest_entry(folder)}; expected {LAYOUT}")
        return LabelledPixels(self.root, PathTable(f"images/{name}/{path}" for path in scan(folder, KIND)), self.view)

    def _mapped(self, files: LabelledPixels) -> LabelledPixels:
        maps = [map_of(path) for path in files.paths]
        there = files.select(existing(self.root, maps, "maps", f"{self.root} ({LAYOUT})"))
        assert isinstance(there, LabelledPixels)
        return there


def map_of(path: str) -> str:
    """Where the classes of a picture's pixels are, below the same folder."""
    return f"annotations/{os.path.splitext(path.removeprefix('images/'))[0]}.png"


def _labels(image: Image.Image, shape: Sequence[int], size: int) -> Int64[Tensor, "H W"]:
    if list(image.size) != list(shape):
        raise Unreadable(f"a map of {image.size} pixels for a picture of {tuple(shape)}")
    if image.mode not in ("L", "P"):
        raise Unreadable(f"a map has one number a pixel, 0 to {CLASSES}, not pixels of kind {image.mode}")
    whole, corners = centre(*image.size, size)
    found = np.asarray(image.resize(whole, Image.Resampling.NEAREST).crop(corners)).astype(np.int64)
    if found.max() > CLASSES:
        raise Unreadable(f"a map has the number {found.max()}: they are 0 to {CLASSES}")
    return torch.from_numpy(np.where(found == 0, IGNORED, found - 1))
