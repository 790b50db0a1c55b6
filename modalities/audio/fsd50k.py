"""FSD50K: which of many things can be heard?"""

from __future__ import annotations

import os

from modalities.audio.files import SoundFiles, checked_view
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.tables import existing, read_table, required
from worldjepa.data.tags import Tagged, TaggedSource, TaggedSplits, memberships
from worldjepa.errors import UserError, unknown

LISTS = "FSD50K.ground_truth"
LAYOUT = f"{LISTS}/dev.csv and eval.csv, with the recordings FSD50K.dev_audio/NAME.wav and FSD50K.eval_audio/NAME.wav"


class FSD50K(DataSource, TaggedSource):
    """FSD50K: recordings with several labels each, in the published splits.

    Probes for one class cannot use such labels, so there are none while training; `tagged` gives the recordings with all of
    them. Recordings that are listed and not there are counted and left out.

    Args:
        root: the folder that the archives are unpacked in.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span; in training a random stretch.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        front_end: str = "mel_16k",
        frames: int = 1000,
        seconds: float | None = None,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        rows = self._rows("dev", ("fname", "labels", "split"))
        strange = sorted({row["split"] for row in rows} - {"train", "val"})
        if strange:
            raise UserError(f"{LISTS}/dev.csv: '{strange[0]}' is no split; allowed: train, val")
        self.names = sorted({name for row in rows for name in _labels(row)})
        """The classes."""
        self._dev = {
            split: self._tagged("dev", [row for row in rows if row["split"] == split]) for split in ("train", "val")
        }

    def train(self) -> SoundFiles:
        """The recordings of the training split."""
        files = self._dev["train"].files
        assert isinstance(files, SoundFiles)
        return files

    def probe(self) -> None:
        """None: the recordings have several labels each."""

    def tagged(self) -> TaggedSplits:
        """The recordings of the published splits with all their labels.

        Raises:
            UserError: the list for tests is missing, or names a class that is in no other.
        """
        return TaggedSplits(**self._dev, test=self._tagged("eval", self._rows("eval", ("fname", "labels"))))

    def _rows(self, part: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
        where = required(self.root, [f"{LISTS}/{part}.csv"], LAYOUT)
        return read_table(self.root, os.path.relpath(where, self.root), columns)

    def _tagged(self, part: str, rows: list[dict[str, str]]) -> Tagged:
        where = f"{self.root}/{LISTS}/{part}.csv"
        strange = sorted({name for row in rows for name in _labels(row)} - set(self.names))
        if strange:
            raise unknown(f"{where}: class", strange[0], self.names)
        paths = [f"FSD50K.{part}_audio/{row['fname']}.wav" for row in rows]
        there = existing(self.root, paths, "recordings", where).tolist()
        files = SoundFiles(self.root, PathTable(paths[i] for i in there), self.view)
        return Tagged(files, memberships([_labels(rows[i]) for i in there], self.names), self.names)


def _labels(row: dict[str, str]) -> list[str]:
    return [name.strip() for name in row["labels"].split(",") if name.strip()]
