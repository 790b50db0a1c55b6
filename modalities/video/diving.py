"""Diving48: which of 48 dives is it?"""

from __future__ import annotations

from collections.abc import Sequence

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import checked_reading
from modalities.video.segments import Segments, part
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.tables import entry, read_json, required
from worldjepa.errors import UserError

LAYOUT = "Diving48_V2_train.json and Diving48_V2_test.json, with the videos rgb/NAME.mp4"


class Diving48(ListedSource):
    """Diving48 with the labels of version 2: lists of names, classes and frames, and videos in `rgb/`.

    Clips are of the frames from `start_frame` to before `end_frame`. Videos that are listed and not there are counted and left
    out.

    Args:
        root: the folder with the lists and `rgb/`.
        frames: frames of a clip.
        stride: every how many frames one is taken.
        fps: frames a second instead, whatever the video's own rate.
        short: what becomes of dives that are shorter than a clip: `hold` their last frame, `loop` or `refuse` them.
        clips: clips of every dive.
        size: side of the square clips in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the frame; null takes frames as they are.
        flip: how often training clips are mirrored.
        decoder: `auto`, `decord` or `pyav`.
        seed: decides which training videos probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: a list or all videos are missing, a list is damaged, or a value is out of its range.
    """

    def __init__(
        self,
        root: str,
        frames: int = 32,
        stride: int = 2,
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
        train, test = (_split(root, split) for split in ("train", "test"))
        super().__init__(train, test, reading, sorted(set(train.labels), key=int), seed, max_bad_fraction)

    def videos(self, listed: Listed) -> Segments:
        """The listed frames of the videos."""
        return Segments(listed.root, PathTable(listed.paths), self.reading)


def _split(root: str, split: str) -> Listed:
    where = required(root, [f"Diving48_V2_{split}.json"], LAYOUT)
    paths, labels = [], []
    for number, dive in enumerate(read_json(where, list)):
        here = f"{where}, entry {number}"
        first, end, label = (entry(dive, name, int, here) for name in ("start_frame", "end_frame", "label"))
        if not 0 <= first < end or label < 0:
            raise UserError(f"{here}: frames {first} to {end} of class {label} cannot be")
        paths.append(part(f"rgb/{entry(dive, 'vid_name', str, here)}.mp4", first, end))
        labels.append(str(label))
    return existing(Listed(root, paths, labels), where)
