"""Something-Something v2: what people do with things."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import KIND, checked_reading
from worldjepa.data.paths import check_folder
from worldjepa.data.tables import read_json, required
from worldjepa.errors import UserError

VIDEOS = "20bn-something-something-v2"
"""The folder that the official archive unpacks to."""

LAYOUT = f"labels.json, train.json and validation.json, with the videos {VIDEOS}/ID.webm"


class SomethingSomething(ListedSource):
    """Something-Something v2: `labels.json`, `train.json` and `validation.json`, in the folder or in its `labels/`.

    Videos are `ID.webm`, or of any other video ending, in `20bn-something-something-v2/`. The class of a video is its
    template without brackets. Videos that are listed and not there are counted and left out.

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
        decoder: `auto`, `decord` or `pyav`.
        seed: decides which training videos probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: a list or all videos are missing, a class is not in `labels.json`, or a value is out of its range.
    """

    def __init__(
        self,
        root: str,
        videos: str = VIDEOS,
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
        folder = check_folder(os.path.join(root, videos))
        numbers = read_json(_file(root, "labels.json"), dict)
        classes = sorted(numbers, key=lambda name: int(numbers[name]))
        parts = [_listed(root, folder, f"{split}.json", classes) for split in ("train", "validation")]
        super().__init__(*parts, reading, classes, seed, max_bad_fraction)


def _listed(root: str, folder: str, name: str, classes: list[str]) -> Listed:
    where = _file(root, name)
    entries = read_json(where, list)
    endings = {
        stem: ending for stem, ending in map(os.path.splitext, os.listdir(folder)) if ending.lower() in KIND.suffixes
    }
    known = {label.casefold(): label for label in classes}
    labels = []
    for entry in entries:
        template = str(entry.get("template", "")).replace("[", "").replace("]", "")
        if template.casefold() not in known:
            raise UserError(
                f"{where}: the template of video {entry.get('id')} is no class of labels.json: '{template}'"
            )
        labels.append(known[template.casefold()])
    paths = [f"{entry['id']}{endings.get(str(entry['id']), '.webm')}" for entry in entries]
    return existing(Listed(folder, paths, labels), where)


def _file(root: str, name: str) -> str:
    return required(root, [name, f"labels/{name}"], LAYOUT)
