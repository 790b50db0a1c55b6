"""EPIC-KITCHENS-100: what somebody does next in a kitchen."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modalities.video.listed import Listed, ListedSource, existing
from modalities.video.observations import VideoFiles, checked_reading
from modalities.video.segments import Segments, part
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.published import factor
from worldjepa.data.tables import read_table, required
from worldjepa.errors import UserError

LAYOUT = "EPIC_100_train.csv and EPIC_100_validation.csv, with the videos P01/videos/P01_01.MP4"
COLUMNS = ("participant_id", "video_id", "start_frame", "stop_frame", "verb_class", "noun_class")


class EpicKitchens(ListedSource):
    """EPIC-KITCHENS-100: long videos, and lists of the actions in them, in the folder or in its `annotations/`.

    Each action is a sample, seen from before it: the clip ends `ahead` seconds before the action begins. The factors are
    `action`, which is a verb and a noun, `verb` and `noun`, called by the numbers that the lists give them. The published test
    actions have no labels: the validation list is for tests. Videos that are listed and not there are counted and left out.

    Args:
        root: the folder.
        ahead: how many seconds before its action a clip ends; null for clips of the action itself.
        frames: frames of a clip.
        stride: every how many frames one is taken.
        fps: frames a second instead, whatever the video's own rate.
        short: what becomes of what is shorter than a clip: `hold` their last frame, `loop` or `refuse` them.
        clips: clips of every action; one where they lie before it.
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
        ahead: float | None = 1.0,
        frames: int = 32,
        stride: int = 4,
        fps: float | None = 8.0,
        short: str = "hold",
        clips: int = 1,
        size: int = 256,
        channels: int = 3,
        crop_scale: Sequence[float] | None = (0.3, 1.0),
        flip: float = 0.5,
        decoder: str = "auto",
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        if ahead is not None and not 0 <= ahead < float("inf"):
            raise UserError(f"ahead must be seconds, 0 or more, or null for clips of the action itself: {ahead}")
        if ahead is not None and clips != 1:
            raise UserError(f"there is one clip that ends {ahead:g} s before an action: clips={clips} needs ahead=null")
        self.ahead = None if ahead is None else float(ahead)
        reading = checked_reading(frames, stride, fps, short, clips, size, channels, crop_scale, flip, decoder)
        root = check_folder(root)
        train, val = (_split(root, split) for split in ("train", "validation"))
        # Some actions to test on are in no training video, though their verbs and nouns are.
        actions = sorted({*train.labels, *val.labels}, key=_numbers)
        super().__init__(train, val, reading, actions, seed, max_bad_fraction)

    def videos(self, listed: Listed) -> Segments:
        """The actions, or what is before them."""
        return Segments(listed.root, PathTable(listed.paths), self.reading, ahead=self.ahead)

    def labelled(self, files: VideoFiles, labels: list[str]) -> VideoFiles:
        """Action, verb and noun of each."""
        factors = {"action": factor(labels, self._classes)}
        for place, name in enumerate(("verb", "noun")):
            classes = sorted({_numbers(action)[place] for action in self._classes})
            factors[name] = factor([str(_numbers(label)[place]) for label in labels], [str(one) for one in classes])
        return files.with_files(files.paths, factors)


def _numbers(action: str) -> tuple[int, int]:
    """The numbers of the verb and of the noun in an action's name."""
    verb, _, noun = action.partition(",")
    return int(verb), int(noun)


def _split(root: str, split: str) -> Listed:
    name = f"EPIC_100_{split}.csv"
    where = required(root, [name, f"annotations/{name}"], LAYOUT)
    paths, labels = [], []
    for number, row in enumerate(read_table(root, os.path.relpath(where, root), COLUMNS), start=2):
        try:
            first, stop, verb, noun = (int(row[column]) for column in COLUMNS[2:])
        except ValueError as error:
            raise UserError(f"{where}, row {number}: {', '.join(COLUMNS[2:])} must be whole numbers") from error
        if not 0 <= first < stop or min(verb, noun) < 0:
            raise UserError(f"{where}, row {number}: frames {first} to {stop}, verb {verb}, noun {noun} cannot be")
        who = row["participant_id"]
        paths.append(part(f"{who}/videos/{row['video_id']}.MP4", first, stop))
        labels.append(f"{verb},{noun}")
    return existing(Listed(root, paths, labels), where)
