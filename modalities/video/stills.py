"""Videos that are folders of numbered pictures."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from modalities.video.frames import Choose, Timeline
from modalities.video.observations import Reading, VideoFiles
from worldjepa.data import Labels
from worldjepa.data.paths import PathTable
from worldjepa.data.pictures import read_image
from worldjepa.errors import Unreadable

ENDINGS = (".jpg", ".jpeg", ".png")


class FrameFolders(VideoFiles):
    """Folders of pictures, each a video whose frames are its pictures in the order of their names.

    Args:
        root: the folder that the paths are relative to.
        paths: the folders.
        reading: how clips are read.
        factors: what is known about each folder.
        rate: frames a second.
    """

    def __init__(
        self,
        root: str,
        paths: PathTable,
        reading: Reading,
        factors: dict[str, Labels] | None = None,
        rate: float = 12.0,
    ):
        super().__init__(root, paths, reading, factors)
        self.rate = rate

    def frames(self, index: int, choose: Choose) -> UInt8[ndarray, "T H W 3"]:
        """The chosen frames of a folder.

        Raises:
            Unreadable: there is no such folder, it holds no pictures, or one that is wanted cannot be decoded.
        """
        folder = self.path(index)
        pictures = _pictures(folder)
        timeline = Timeline(np.arange(len(pictures)) / self.rate, len(pictures) / self.rate)
        try:
            chosen = [int(place) for place in choose(timeline)]
        except Unreadable as error:
            raise Unreadable(f"{folder}: {error}") from error
        found = {place: read_image(os.path.join(folder, pictures[place]), _rgb) for place in set(chosen)}
        if len({frame.shape for frame in found.values()}) > 1:
            raise Unreadable(f"{folder}: its frames differ in size")
        return torch.stack([found[place] for place in chosen]).numpy()

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> FrameFolders:
        """Other folders below the same one, read the same way."""
        return FrameFolders(self.root, paths, self.reading, factors, self.rate)

    def fingerprint(self) -> str:
        """That of the names, with the first frames of some of the folders, their number, and the rate."""
        digest = hashlib.sha256(f"{super().fingerprint()} {self.rate:g}".encode())
        for index in np.linspace(0, len(self) - 1, min(32, len(self))).astype(int).tolist():
            try:
                pictures = _pictures(self.path(index))
                with open(os.path.join(self.path(index), pictures[0]), "rb") as file:
                    digest.update(f"{len(pictures)} ".encode() + file.read(4096))
            except (OSError, Unreadable) as error:  # that there is none is a fact like any other
                digest.update(type(error).__name__.encode())
        return digest.hexdigest()


def _pictures(folder: str) -> list[str]:
    try:
        found = sorted(name for name in os.listdir(folder) if name.lower().endswith(ENDINGS))
    except OSError as error:
        raise Unreadable(f"{folder}: no such folder ({error.strerror})") from error
    if not found:
        raise Unreadable(f"{folder}: holds no frames: none of its files ends in {', '.join(ENDINGS)}")
    return found


def _rgb(image: Image.Image) -> UInt8[Tensor, "H W 3"]:
    return torch.from_numpy(np.array(image.convert("RGB")))
