"""Kinetics-400, 600 and 700, in the layouts in which copies of them lie about."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import KIND, checked_reading
from worldjepa.data.paths import check_folder, scan
from worldjepa.errors import UserError, suggest


class Kinetics(ListedSource):
    """Kinetics: `train.csv` and `val.csv` in the folder or its `annotations/`, and videos below `train/` and `val/`.

    The lists have the columns `label`, `youtube_id`, `time_start` and `time_end`. A video is `ID_SSSSSS_EEEEEE` with any
    video ending (start and end in seconds, six digits), in a folder of its class, whose blanks may be underscores, or in
    none; `ID` alone is found too, and so are videos in `replacement/`. Videos that are listed and not there are counted and
    left out.

    Args:
        root: the folder.
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
        UserError: a list or all videos are missing, or a value is out of its range.
    """

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
        decoder: str = "auto",
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        reading = checked_reading(frames, stride, fps, short, clips, size, channels, crop_scale, flip, decoder)
        root = check_folder(root)
        train = _split(root, "train")
        if train is None:
            raise UserError(f"there is neither {root}/train.csv nor {root}/annotations/train.csv")
        super().__init__(train, _split(root, "val"), reading, None, seed, max_bad_fraction)


def _split(root: str, split: str) -> Listed | None:
    lists = [os.path.join(root, *below, f"{split}.csv") for below in ((), ("annotations",))]
    path = next((path for path in lists if os.path.isfile(path)), None)
    if path is None:
        return None
    found = _videos(root, split)
    rows = _rows(path)
    paths = [
        next((found[name] for name in (full, short) if name in found), os.path.join(split, f"{full}.mp4"))
        for _, full, short in rows
    ]
    return existing(Listed(root, paths, [label for label, _, _ in rows]), path)


def _videos(root: str, split: str) -> dict[str, str]:
    """The path of every video by its name without the ending; what lies in `replacement/` only where nothing else does."""
    found: dict[str, str] = {}
    for folder in (split, "replacement"):
        if os.path.isdir(os.path.join(root, folder)):
            for path in scan(os.path.join(root, folder), KIND):
                found.setdefault(os.path.splitext(os.path.basename(path))[0], os.path.join(folder, path))
    return found


def _rows(path: str) -> list[tuple[str, str, str]]:
    """Label, full name and short name of every video of a list.

    Raises:
        UserError: a column is missing, or a time is not a number.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        for column in ("label", "youtube_id", "time_start", "time_end"):
            if column not in columns:
                raise UserError(
                    f"{path} has no column '{column}'{suggest(column, columns)}; its columns are: {', '.join(columns)}"
                )
        rows = []
        for row in reader:
            try:
                start, end = int(float(row["time_start"])), int(float(row["time_end"]))
            except (TypeError, ValueError) as error:
                raise UserError(f"{path}, line {reader.line_num}: time_start and time_end must be seconds") from error
            rows.append((row["label"].strip(), f"{row['youtube_id']}_{start:06d}_{end:06d}", row["youtube_id"]))
    if not rows:
        raise UserError(f"{path} lists no videos")
    return rows
