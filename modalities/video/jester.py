"""Jester: what people do with their hands before a camera."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import checked_reading
from modalities.video.stills import FrameFolders
from worldjepa.data.labels import read_lines
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.tables import read_rows, required

VIDEOS = "20bn-jester-v1"
"""The folder that the official archive unpacks to."""

LAYOUT = (
    "jester-v1-train.csv and jester-v1-validation.csv, `ID;CLASS` a line, jester-v1-labels.csv with a class a line, and "
    f"{VIDEOS}/ID/00001.jpg"
)
RATE = 12.0
"""Frames a second."""


class Jester(ListedSource):
    """Jester: videos as folders of frames, 12 a second, and lists of their classes, in the folder or in its `labels/`.

    The published test videos have no labels: the validation list is for tests. Videos that are listed and not there are counted
    and left out.

    Args:
        root: the folder.
        videos: the folder with the videos, if it is another one; relative to `root`.
        frames: frames of a clip.
        stride: every how many frames one is taken.
        fps: frames a second instead, whatever the video's own rate.
        short: what becomes of videos that are shorter than a clip: `hold` their last frame, `loop` or `refuse` them.
        clips: clips of every video.
        size: side of the square clips in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the frame; null takes frames as they are.
        flip: how often training clips are mirrored. Many classes tell left from right.
        seed: decides which training videos probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: a list or all videos are missing, a class is not in `jester-v1-labels.csv`, or a value is out of its range.
    """

    def __init__(
        self,
        root: str,
        videos: str = VIDEOS,
        frames: int = 16,
        stride: int = 2,
        fps: float | None = None,
        short: str = "hold",
        clips: int = 1,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] | None = (0.3, 1.0),
        flip: float = 0.0,
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        reading = checked_reading(frames, stride, fps, short, clips, size, channels, crop_scale, flip, "auto")
        root = check_folder(root)
        folder = check_folder(os.path.join(root, videos))
        classes = read_lines(_list(root, "labels"), "data.root")
        train, val = (_split(folder, _list(root, split)) for split in ("train", "validation"))
        super().__init__(train, val, reading, classes, seed, max_bad_fraction)

    def videos(self, listed: Listed) -> FrameFolders:
        """Folders of frames."""
        return FrameFolders(listed.root, PathTable(listed.paths), self.reading, rate=RATE)


def _list(root: str, name: str) -> str:
    return required(root, [f"{below}jester-v1-{name}.csv" for below in ("", "labels/")], LAYOUT)


def _split(folder: str, where: str) -> Listed:
    rows = read_rows(where, columns=2, delimiter=";")
    return existing(Listed(folder, [video for video, _ in rows], [label for _, label in rows]), where)
