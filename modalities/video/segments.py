"""Parts of videos, and what comes before them."""

from __future__ import annotations

import re

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from modalities.video.frames import Timeline
from modalities.video.observations import Reading, VideoFiles
from worldjepa.data import Labels
from worldjepa.data.paths import PathTable
from worldjepa.errors import Unreadable

_PART = re.compile(r"#(\d+)-(\d+)$")
_LAST = float(np.nextafter(1, 0))
"""The share of the last place where a clip can begin."""


def part(path: str, first: int, end: int) -> str:
    """The name of the frames of a video from `first` to before `end`."""
    return f"{path}#{first}-{end}"


def bare(path: str) -> str:
    """The video that a part is of."""
    return _PART.sub("", path)


class Segments(VideoFiles):
    """Parts of videos, named by `part`: one clip of each, or of what is shown before it.

    Args:
        root: the folder that the paths are relative to.
        paths: the parts.
        reading: how clips are read.
        factors: what is known about each part.
        ahead: clips end so many seconds before their part begins, wherever they begin; None for clips of the part.
    """

    def __init__(
        self,
        root: str,
        paths: PathTable,
        reading: Reading,
        factors: dict[str, Labels] | None = None,
        ahead: float | None = None,
    ):
        super().__init__(root, paths, reading, factors)
        self.ahead = ahead

    def path(self, index: int) -> str:
        """The video file of a part."""
        return bare(super().path(index))

    def name(self, index: int) -> str:
        """The file and the frames."""
        return super().path(index)

    def choose(
        self, index: int, timeline: Timeline, rng: torch.Generator | None, clip: int, clips: int
    ) -> Int64[ndarray, " T"]:
        """A clip of the part; or the one that ends `ahead` seconds before it, in training as well.

        Raises:
            Unreadable: the video ends before the part, or the part is too short and such are refused.
        """
        first, end = self._span(index)
        if first >= timeline.count:
            raise Unreadable(f"has {timeline.count} frames, and its part begins at frame {first}")
        if self.ahead is None:
            return self.reading.sampling.choose(within(timeline, first, end), rng, clip, clips) + first
        # Half a millisecond of grace: containers round time stamps.
        seen = int(np.searchsorted(timeline.starts, timeline.starts[first] - self.ahead - 5e-4))
        before = within(timeline, 0, max(seen, 1))
        # The clip ends while the last frame is shown, not as it goes.
        ends = float(before.starts[-1] + before.end) / 2
        return self.reading.sampling.at(Timeline(before.starts, ends), _LAST)

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> Segments:
        """Other parts of videos below the same folder, read the same way."""
        return Segments(self.root, paths, self.reading, factors, self.ahead)

    def fingerprint(self) -> str:
        """That of the parts, with how far ahead of them one looks."""
        return super().fingerprint() if self.ahead is None else f"{super().fingerprint()}-{self.ahead:g}"

    def _span(self, index: int) -> tuple[int, int]:
        found = _PART.search(self.paths[index])
        assert found is not None
        return int(found[1]), int(found[2])


def within(timeline: Timeline, first: int, end: int) -> Timeline:
    """The part of a timeline from frame `first` to before `end`."""
    last = timeline.starts[end] if end < timeline.count else timeline.end
    return Timeline(timeline.starts[first:end], float(last))
