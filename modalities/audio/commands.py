"""Speech Commands: short words by many speakers."""

from __future__ import annotations

import os

from modalities.audio.files import KIND, SoundFiles, checked_view
from worldjepa.data import DataSource, ProbeSplits
from worldjepa.data.files import check_share
from worldjepa.data.labels import read_lines
from worldjepa.data.paths import PathTable, check_folder, scan
from worldjepa.data.tables import some
from worldjepa.errors import UserError

LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
"""Which recordings are not for training; the speakers in them are in no other split."""


class SpeechCommands(DataSource):
    """Speech Commands: `<word>/<speaker>_nohash_<take>.wav`, with lists of the recordings for validation and testing.

    The background noises are left out. Version 2 has 35 words, all of which are classes.

    Args:
        root: the data set's folder, as it is unpacked.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, the lists name recordings that are not there, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        front_end: str = "mel_16k",
        frames: int = 112,
        seconds: float | None = None,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        found = [path for path in scan(self.root, KIND) if not path.startswith("_")]
        if any(path.count("/") != 1 for path in found):
            raise UserError(f"{self.root} must hold one folder of recordings for each word, and no others")
        listed = {name: self._listed(file, set(found)) for name, file in LISTS.items()}
        held_out = set().union(*listed.values())
        self._paths = {"train": [path for path in found if path not in held_out]}
        self._paths |= {name: [path for path in found if path in members] for name, members in listed.items()}
        if not self._paths["train"]:
            raise UserError(f"the lists in {self.root} leave no recordings to train on")
        self._classes = sorted({path.partition("/")[0] for path in found})

    def train(self) -> SoundFiles:
        """All recordings that no list names."""
        return self._files("train")

    def probe(self) -> ProbeSplits:
        """The published splits."""
        return ProbeSplits(self._files("train"), self._files("val"), self._files("test"))

    def _files(self, split: str) -> SoundFiles:
        paths = self._paths[split]
        files = SoundFiles(self.root, PathTable(paths), self.view)
        labelled = files.labelled([path.partition("/")[0] for path in paths], self._classes)
        assert isinstance(labelled, SoundFiles)
        return labelled

    def _listed(self, file: str, found: set[str]) -> set[str]:
        names = set(read_lines(os.path.join(self.root, file), "data.root"))
        missing = sorted(names - found)
        if missing:
            raise UserError(
                f"{len(missing)} of {len(names)} recordings in {file} are not in {self.root}: {some(missing)}"
            )
        return names
