"""NYU Depth V2: indoor pictures of which is known how far every pixel is. Needs `pip install worldjepa[nyu]`."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from modalities.image.observations import View, checked_view, look
from modalities.image.transforms import centre
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.data.hdf5 import open_hdf5
from worldjepa.data.paths import PathTable
from worldjepa.data.pixels import DepthObservations, DepthSplits, Ranged
from worldjepa.data.splits import VAL_FRACTION, stratified
from worldjepa.data.tables import archive_folder, required
from worldjepa.data.views import Views
from worldjepa.errors import Unreadable, UserError

PICTURES, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
LAYOUT = f"{PICTURES} and {SPLITS}"
FARTHEST = 10.0
"""How far the sensor sees, in metres."""
SIZE = (640, 480)
"""Width and height of the pictures."""
COUNTS = (45, 471, 41, 601)
"""The rows and columns, first and one after the last, in which depths count (Eigen et al., 2014): the frame has none."""

_SPOILT = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError)
"""What damaged files raise."""


class DepthPictures(DepthObservations):
    """Some of the pictures of the file, read when they are asked for.

    Args:
        path: of the MATLAB file.
        numbers: of the pictures, from 0.
        view: what is made of them.
    """

    def __init__(self, path: str, numbers: Int64[ndarray, " N"], view: View) -> None:
        self.path, self.numbers, self.view = path, numbers, view
        self.views = view.count
        self.shape = (view.channels, view.size, view.size)
        self.factors = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, index: int) -> str:
        """Its number in the file, from 1 as the published lists count."""
        return f"{self.path}: picture {self.numbers[index] + 1}"

    def observe(self, index: int, rng: torch.Generator | None = None) -> UInt8[Tensor, "... C H W"]:
        """A random crop or the several views that are asked for; the evaluation view without `rng`.

        Raises:
            Unreadable: the file is damaged; the message names it and the picture.
        """
        pixels = np.asarray(self._read("images", index), np.uint8)  # [3, W, H], as MATLAB lays it out
        return look(Image.fromarray(np.ascontiguousarray(pixels.transpose(2, 1, 0))), self.view, rng)

    def depth(self, index: int) -> Float32[Tensor, "H W"]:
        """How far every pixel of the evaluation view is, in metres; 0 outside `COUNTS`, and where it is 0 or above `FARTHEST`.

        Raises:
            Unreadable: the file is damaged, or no pixel has a depth; the message names it and the picture.
        """
        whole = np.asarray(self._read("depths", index), np.float32).T  # [H, W]
        counts = np.zeros_like(whole)
        top, bottom, left, right = COUNTS
        counts[top:bottom, left:right] = whole[top:bottom, left:right]
        counts[~((counts > 0) & (counts <= FARTHEST))] = 0  # what is no number is above nothing
        resized, corners = centre(counts.shape[1], counts.shape[0], self.view.size)
        seen = np.array(Image.fromarray(counts).resize(resized, Image.Resampling.NEAREST).crop(corners))
        if not seen.any():
            raise Unreadable(f"{self.name(index)}: no pixel of the view has a depth of up to {FARTHEST:g} m")
        return torch.from_numpy(seen)

    def fingerprint(self) -> str:
        """SHA-256 over the file's size, its first pictures and depths, the numbers, and the shape of the observations."""
        digest = hashlib.sha256(f"{os.path.getsize(self.path)} {self.shape}".encode())
        digest.update(self.numbers.astype("<i8").tobytes())
        for index in range(min(4, len(self))):
            for name in ("images", "depths"):
                digest.update(np.ascontiguousarray(self._read(name, index)).tobytes())
        return digest.hexdigest()

    def _read(self, name: str, index: int) -> Any:
        """The file is opened every time: processes must not share one that is open."""
        try:
            with open_hdf5(self.path, "nyu") as file:
                return file[name][int(self.numbers[index])]
        except _SPOILT as error:
            if isinstance(error, UserError):
                raise
            raise Unreadable(f"{self.name(index)}: {type(error).__name__}: {error}") from error


class NYUDepth(DataSource, Ranged):
    """The labelled part of NYU Depth V2: 795 pictures to learn from and 654 to test on, of 640 x 480 pixels.

    There are no classes of pictures, so no probes while training; `depths` gives what depth estimation takes. Settings are
    chosen on a fifth of the training pictures.

    Args:
        root: the folder with the two MATLAB files.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the picture (I-JEPA, official configurations).
        seed: decides which pictures settings are chosen on.
        max_bad_fraction: training stops when more than this share of the pictures it has seen cannot be read.
        views: how several views of a picture are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: a file is missing, damaged or holds something else, or a setting is out of its range.
    """

    farthest = FARTHEST

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
        self.root = archive_folder(root, "nyu_depth_v2")
        self.path = required(self.root, [PICTURES], LAYOUT)
        there = _count(self.path)
        self._numbers = {
            name: _numbers(required(self.root, [SPLITS], LAYOUT), name, there) for name in ("train", "test")
        }

    def train(self) -> DepthPictures:
        """All training pictures."""
        return self._pictures(self._numbers["train"])

    def probe(self) -> None:
        """None: there are no classes of whole pictures."""

    def depths(self) -> DepthSplits:
        """Pictures with the depths of their pixels."""
        learned = self._numbers["train"]
        names = PathTable(f"picture {number}" for number in learned)
        apart = stratified(names, np.zeros(len(learned), np.int64), VAL_FRACTION, self.seed, "val")
        return DepthSplits(*(self._pictures(some) for some in (learned[~apart], learned[apart], self._numbers["test"])))

    def _pictures(self, numbers: Int64[ndarray, " N"]) -> DepthPictures:
        return DepthPictures(self.path, numbers, self.view)


def _count(path: str) -> int:
    """How many pictures a file has, each with a map of depths of its size."""
    try:
        with open_hdf5(path, "nyu") as file:
            images, depths = (tuple(file[name].shape) for name in ("images", "depths"))
    except _SPOILT as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not the published file (MATLAB 7.3): {type(error).__name__}: {error}") from error
    if images[1:] != (3, *SIZE) or depths != (*images[:1], *SIZE):
        raise UserError(
            f"{path}: images must be [N, 3, 640, 480] and depths [N, 640, 480], not {list(images)} and {list(depths)}"
        )
    return int(images[0])


def _numbers(path: str, name: str, there: int) -> Int64[ndarray, " N"]:
    """The pictures of a split, from 0."""
    try:
        io: Any = importlib.import_module("scipy.io")
    except ImportError as error:
        raise UserError(f"{path} needs SciPy: pip install worldjepa[nyu]") from error
    try:
        numbers = np.asarray(io.loadmat(path)[f"{name}Ndxs"]).reshape(-1).astype(np.int64) - 1
    except (*_SPOILT, NotImplementedError) as error:
        raise UserError(f"{path}: no list {name}Ndxs can be read: {type(error).__name__}: {error}") from error
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= there:
        raise UserError(f"{path}: {name}Ndxs must be numbers of pictures, 1 to {there}")
    return np.sort(numbers)
