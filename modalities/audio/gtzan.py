"""GTZAN: which kind of music is it?"""

from __future__ import annotations

import os

import numpy as np

from modalities.audio.files import KIND, SoundFiles, checked_view
from worldjepa.data.labels import class_folders, label_by_folder, read_lines
from worldjepa.data.paths import scan
from worldjepa.data.published import HeldOut, Published
from worldjepa.data.splits import check_holdout, stratified
from worldjepa.data.tables import archive_folder, required, some
from worldjepa.errors import UserError

LAYOUT = "genres/GENRE/GENRE.00000.wav"
LISTS = {split: f"{split}_filtered.txt" for split in ("train", "valid", "test")}
"""Lists of recordings from which repetitions and faults are filtered: `GENRE/GENRE.00000.wav` a line."""


class GTZAN(Published):
    """GTZAN: 30 seconds of music in 10 genres.

    The set comes without splits: a part of every genre is held out for tests. With the lists that are known as filtered splits,
    those hold, and what they do not name is left out. One recording of the original archive, `jazz.00054`, cannot be read:
    training lists it and takes another in its place, evaluation leaves it out.

    Args:
        root: the folder that the archive unpacks to, or the one that it is in.
        lists: a folder with train_filtered.txt, valid_filtered.txt and test_filtered.txt.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span; in training a random stretch.
        holdout: the fraction of each genre that is held out for testing where there are no lists.
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, a list names what is not there, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        lists: str | None = None,
        front_end: str = "mel_16k",
        frames: int = 1000,
        seconds: float | None = None,
        holdout: float = 0.2,
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        self.root = archive_folder(root, "genres")
        found = SoundFiles(self.root, scan(self.root, KIND), self.view)
        genres = class_folders(found)
        if not genres:
            raise UserError(f"{self.root} must hold one folder of recordings for each genre; expected {LAYOUT}")
        files = label_by_folder(found, genres)
        assert isinstance(files, SoundFiles)
        self._parts = _halves(files, check_holdout(holdout), seed) if lists is None else _by_lists(files, lists)
        super().__init__(self._parts["train"], seed, max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The listed splits, or what is held out for tests."""
        return HeldOut(self._parts.get("valid"), self._parts.get("test"))


def _halves(files: SoundFiles, holdout: float, seed: int) -> dict[str, SoundFiles]:
    """What to learn from and, if anything is held out, what to test on."""
    apart = stratified(files.paths, files.factors["class"].index, holdout, seed, "test")
    parts = {"train": files.select(np.flatnonzero(~apart))}
    if apart.any():
        parts["test"] = files.select(np.flatnonzero(apart))
    return parts  # type: ignore[return-value]


def _by_lists(files: SoundFiles, lists: str) -> dict[str, SoundFiles]:
    """The three splits that the lists name, each in the order of its list.

    Raises:
        UserError: a list is missing, or names recordings that are not there.
    """
    place = {os.path.splitext(path)[0]: index for index, path in enumerate(files.paths)}
    parts = {}
    for split, name in LISTS.items():
        where = required(os.path.expanduser(lists), [name], f"{', '.join(LISTS.values())} in it")
        listed = [os.path.splitext(line)[0] for line in read_lines(where, "data.lists")]
        missing = [line for line in listed if line not in place]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(listed)} recordings in {where} are not in {files.root}: {some(missing)}"
            )
        parts[split] = files.select(np.array([place[line] for line in listed], np.int64))
    return parts  # type: ignore[return-value]
