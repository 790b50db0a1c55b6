"""V-JEPA's lists of videos: a path and the number of a class on each line."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import checked_reading
from worldjepa.data.paths import check_folder, nearest_entry
from worldjepa.errors import UserError


class VideoList(ListedSource):
    """Videos listed in text files, as V-JEPA's data sets are: `PATH LABEL` a line, no header.

    The label is what follows the last blank of a line, if it is a whole number; a path may thus contain blanks. A path in
    double quotes may be alone on its line, and end in a number. Files that end in `.npy` hold an array of paths without
    labels.

    Args:
        path: the list to learn from, or several.
        val: a list to test probes on, or several.
        root: the folder that relative paths are relative to; by default that of each list.
        frames: frames of a clip.
        stride: every how many frames one is taken.
        fps: frames a second instead, whatever the video's own rate.
        short: what becomes of videos that are shorter than a clip: `hold` their last frame, `loop` or `refuse` them.
        clips: clips of every video.
        size: side of the square clips in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the frame; null takes frames as they are.
        flip: how often training clips are mirrored.
        decoder: `auto`, `decord` or `pyav`.
        seed: decides which training videos probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: a list is missing or empty, none of its videos is there, or a value is out of its range.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        val: str | Sequence[str] | None = None,
        root: str | None = None,
        frames: int = 16,
        stride: int = 4,
        fps: float | None = None,
        short: str = "hold",
        clips: int = 1,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] | None = (0.3, 1.0),
        flip: float = 0.5,
        decoder: str = "auto",
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        reading = checked_reading(frames, stride, fps, short, clips, size, channels, crop_scale, flip, decoder)
        train = _all(path, root)
        super().__init__(
            train, None if val is None else _all(val, root), reading, _numbers(train), seed, max_bad_fraction
        )


def _all(paths: str | Sequence[str], root: str | None) -> Listed:
    """The videos of one or several lists."""
    base = "" if root is None else check_folder(root)
    videos: list[str] = []
    labels: list[str] = []
    for path in [paths] if isinstance(paths, str) else paths:
        path = os.path.expanduser(path)
        if not os.path.isfile(path):
            raise UserError(f"{path} does not exist{nearest_entry(path)}")
        lines = _array(path) if path.endswith(".npy") else read_list(path)
        if not lines:
            raise UserError(f"{path} lists no videos")
        folder = os.path.abspath(base or os.path.dirname(path))
        listed = Listed("", [os.path.join(folder, video) for video, _ in lines], [label for _, label in lines])
        listed = existing(listed, path)
        videos += listed.paths
        labels += listed.labels
    return Listed("", videos, labels)


def read_list(path: str) -> list[tuple[str, str]]:
    """The paths and labels of a list; a label is empty where none is given.

    Raises:
        UserError: the file is no text, or a line has a quote that is not closed.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file: {error}") from error
    return [_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line]


def _entry(line: str, where: str) -> tuple[str, str]:
    if line.startswith('"'):
        video, quote, label = line[1:].partition('"')
        if not quote or not video:
            raise UserError(f"{where}: the quotation is not closed or empty: {line}")
    else:
        video, _, label = line.rpartition(" ")
        if not video or not label.isdigit():
            return line, ""
        video = video.rstrip()
    label = label.strip()
    if label and not label.isdigit():
        raise UserError(f"{where}: a label is a whole number, 0 or more, not '{label}'")
    return video, str(int(label)) if label else ""


def _array(path: str) -> list[tuple[str, str]]:
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise UserError(f"{path} is not a NumPy array of plain text: {error}") from error
    if values.ndim != 1 or values.dtype.kind != "U":
        raise UserError(f"{path} must hold one row of text, not {values.dtype} {list(values.shape)}")
    return [(str(value), "") for value in values]


def _numbers(listed: Listed) -> list[str]:
    """The class numbers that occur, in order of their value."""
    return sorted({label for label in listed.labels if label}, key=int)
