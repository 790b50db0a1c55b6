"""Any folder of recordings as a data set."""

from __future__ import annotations

from typing import ClassVar

from modalities.audio.files import KIND, SoundFiles, checked_view
from worldjepa.data.folder import FolderSource
from worldjepa.data.paths import Kind, PathTable


class Sounds(FolderSource):
    """Any folder of recordings, nested or flat: see `FolderSource` for classes and splits.

    Args:
        root: the folder.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span; in training a random stretch.
        holdout: the fraction of each class that is held out for testing where there is no split on disk; 0 for none,
            and then there are no probes.
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: there is no such folder or no sound in it, or a setting is out of its range.
    """

    kind: ClassVar[Kind] = KIND
    channels = 1

    def __init__(
        self,
        root: str,
        front_end: str = "mel_16k",
        frames: int = 608,
        seconds: float | None = None,
        holdout: float = 0.2,
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        super().__init__(root, holdout, seed, max_bad_fraction)

    def files(self, root: str, paths: PathTable) -> SoundFiles:
        """The recordings in the view."""
        return SoundFiles(root, paths, self.view)
