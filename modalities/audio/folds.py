"""Data sets that come in folds: ESC-50 and UrbanSound8K."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import ClassVar

from modalities.audio.files import SoundFiles, checked_view
from worldjepa.data import DataSource, ProbeSplits
from worldjepa.data.files import check_share
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.tables import read_table, some
from worldjepa.errors import UserError


class Folds(DataSource):
    """Recordings in folds that keep takes of one source together: one fold is for testing and is never learnt from.

    Probes choose their settings on the fold after it and are trained on the others. Published accuracies are the mean over
    all folds: one run for each, with `data.fold`.

    Args:
        root: the data set's folder, as it is unpacked.
        fold: the fold that is held out, from 1.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, a listed recording is missing, or a setting is out of its range.
    """

    channels = 1
    table: ClassVar[str]
    """The file below the root that lists the recordings."""
    columns: ClassVar[tuple[str, str, str]]
    """Its columns with file name, fold and class."""
    folds: ClassVar[int]
    """How many folds there are."""

    def __init__(
        self,
        root: str,
        fold: int = 1,
        front_end: str = "mel_16k",
        frames: int = 512,
        seconds: float | None = None,
        max_bad_fraction: float = 0.05,
    ):
        if not 1 <= fold <= self.folds:
            raise UserError(f"fold must be 1 to {self.folds}: {fold}")
        self.view = checked_view(front_end, frames, seconds)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root, self.fold = check_folder(root), int(fold)
        name, number, label = self.columns
        rows = read_table(self.root, self.table, self.columns)
        self._classes = sorted({row[label] for row in rows})
        self._paths = [self.path(row[name], row[number]) for row in rows]
        self._labels, self._folds = [row[label] for row in rows], [row[number] for row in rows]
        missing = [path for path in self._paths if not os.path.isfile(os.path.join(self.root, path))]
        if missing:
            raise UserError(f"{len(missing)} of {len(rows)} listed recordings are not in {self.root}: {some(missing)}")
        strange = sorted(set(self._folds) - {str(one) for one in range(1, self.folds + 1)})
        if strange:
            raise UserError(
                f"{os.path.join(self.root, self.table)} names a fold '{strange[0]}': they are 1 to {self.folds}"
            )

    @staticmethod
    @abstractmethod
    def path(name: str, fold: str) -> str:
        """Where a recording lies below the root."""

    def train(self) -> SoundFiles:
        """All folds but the one held out."""
        return self._select({str(one) for one in range(1, self.folds + 1)} - {str(self.fold)})

    def probe(self) -> ProbeSplits:
        """The labelled folds."""
        val = self.fold % self.folds + 1
        others = {str(one) for one in range(1, self.folds + 1)} - {str(self.fold), str(val)}
        return ProbeSplits(self._select(others), self._select({str(val)}), self._select({str(self.fold)}))

    def _select(self, folds: set[str]) -> SoundFiles:
        rows = [row for row, fold in enumerate(self._folds) if fold in folds]
        if not rows:
            raise UserError(f"{self.root} has no recordings in fold {', '.join(sorted(folds))}")
        files = SoundFiles(self.root, PathTable(self._paths[row] for row in rows), self.view)
        labelled = files.labelled([self._labels[row] for row in rows], self._classes)
        assert isinstance(labelled, SoundFiles)
        return labelled


class ESC50(Folds):
    """ESC-50: 2,000 recordings of 5 seconds in 50 classes and 5 folds; see `Folds`."""

    table = "meta/esc50.csv"
    columns = ("filename", "fold", "category")
    folds = 5

    @staticmethod
    def path(name: str, fold: str) -> str:
        """All in one folder."""
        return f"audio/{name}"


class UrbanSound8K(Folds):
    """UrbanSound8K: 8,732 recordings of up to 4 seconds in 10 classes and 10 folds; see `Folds`."""

    table = "metadata/UrbanSound8K.csv"
    columns = ("slice_file_name", "fold", "class")
    folds = 10

    @staticmethod
    def path(name: str, fold: str) -> str:
        """A folder for each fold."""
        return f"audio/fold{fold}/{name}"
