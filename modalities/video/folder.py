"""Any folder of videos as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from modalities.video.observations import KIND, VideoFiles, checked_reading
from worldjepa.data import Observations, ProbeSplits
from worldjepa.data.folder import FolderSource
from worldjepa.data.paths import Kind, PathTable


class Videos(FolderSource):
    """Any folder of videos, nested or flat: see `FolderSource` for classes and splits.

    Args:
        root: the folder.
        frames: frames of a clip.
        stride: every how many frames one is taken.
        fps: frames a second instead, whatever the video's own rate.
        short: what becomes of videos that are shorter than a clip: `hold` their last frame, `loop` them, or `refuse` them,
            which counts as unreadable.
        clips: clips of every video; the places where one can begin are shared evenly among them.
        size: side of the square clips in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the frame; null takes frames of the right size as
            they are.
        flip: how often training clips are mirrored. Mirroring exchanges left and right, of motion too.
        holdout: the fraction of each class that is held out for testing where there is no split on disk; 0 for none,
            and then there are no probes.
        decoder: `decord` or `pyav`; `auto` takes decord where it works, and PyAV for what decord cannot read.
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: there is no such folder or no video in it, or a value is out of its range.
    """

    kind: ClassVar[Kind] = KIND

    def __init__(
        self,
        root: str,
        frames: int = 16,
        stride: int = 4,
        fps: float | None = None,
        short: str = "hold",
        clips: int = 1,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] | None = (0.3, 1.0),
        flip: float = 0.5,
        holdout: float = 0.2,
        decoder: str = "auto",
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        self.channels = channels
        self.reading = checked_reading(frames, stride, fps, short, clips, size, channels, crop_scale, flip, decoder)
        super().__init__(root, holdout, seed, max_bad_fraction)

    def files(self, root: str, paths: PathTable) -> VideoFiles:
        """The videos, one clip of each."""
        return self.reading.files(root, paths)

    def train(self) -> Observations:
        """All clips, less those of videos that are held out."""
        return self.reading.all_clips(self._kept())

    def probe(self) -> ProbeSplits | None:
        """Labelled splits, as `FolderSource.probe`, with all clips of each video."""
        return self.reading.all_splits(super().probe())
