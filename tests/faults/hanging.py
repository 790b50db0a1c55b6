"""Videos, some of which a decoder never returns from."""

from __future__ import annotations

import os
import time
from unittest import mock

import torch
from jaxtyping import UInt8
from torch import Tensor

from modalities.video import decode
from modalities.video.data import Videos
from modalities.video.frames import Choose
from modalities.video.observations import VideoFiles
from worldjepa.data.paths import PathTable

MARK = "hang"
"""In the names of such files."""


class HangingVideos(Videos):
    """A folder of videos; training does not get past those with `MARK` in their name. Each try is noted beside the folder."""

    def files(self, root: str, paths: PathTable) -> VideoFiles:
        """The videos as the workers see them."""
        return HangingFiles(root, paths, self.reading)


class HangingFiles(VideoFiles):
    """What the workers see."""

    def clip(
        self, index: int, rng: torch.Generator | None = None, number: int = 0, of: int = 1
    ) -> UInt8[Tensor, "C T H W"]:
        if rng is None or MARK not in os.path.basename(self.path(index)):
            return super().clip(index, rng, number, of)
        with mock.patch.dict(decode.READERS, dict.fromkeys(decode.READERS, never)):
            return super().clip(index, rng, number, of)


def never(path: str, choose: Choose) -> None:
    """Read a file without end."""
    with open(f"{os.path.dirname(path)}.notes", "a") as notes:
        notes.write(f"{os.path.basename(path)}\n")
    time.sleep(600)
