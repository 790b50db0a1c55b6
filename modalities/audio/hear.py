"""HEAR's tasks, which all come in one layout."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from modalities.audio.files import SoundFiles, checked_view
from worldjepa.data.files import Files
from worldjepa.data.paths import PathTable, check_folder, folders_in
from worldjepa.data.published import HeldOut, Published, factor
from worldjepa.data.tables import entry, existing, read_json, read_table, required
from worldjepa.data.tags import Tagged, TaggedSource, TaggedSplits, memberships
from worldjepa.errors import UserError, unknown

LAYOUT = (
    "TASK/task_metadata.json and labelvocabulary.csv, train.json, valid.json and test.json or fold00.json and so on, and the "
    "recordings 48000/SPLIT/NAME.wav"
)


class Split(NamedTuple):
    """Recordings, and the labels of each."""

    files: Files
    labels: list[list[str]]


class Parts(NamedTuple):
    """The names of the published splits or folds that make each split."""

    train: list[str]
    val: list[str]
    test: list[str]


class HEAR(Published, TaggedSource):
    """A task of HEAR 2021 about whole recordings.

    Where the recordings have one label each it is the factor `class`; where they have several there are no probes while
    training, and `tagged` gives them. Of tasks in folds one fold is for tests and the next one for choices; published numbers
    are the mean over all folds. Tasks about events in time are refused. Recordings that are listed and not there are counted
    and left out.

    Args:
        root: the folder with the tasks.
        task: the folder of one of them.
        fold: the fold that is held out, from 0, where the task has folds.
        rate: the sample rate whose recordings are read; by default the highest that is there.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span; in training a random stretch.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, the task is about events, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        task: str,
        fold: int | None = None,
        rate: int | None = None,
        front_end: str = "mel_16k",
        frames: int = 400,
        seconds: float | None = None,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        tasks = folders_in(check_folder(root))
        if task not in tasks:
            raise unknown("task", task, tasks)
        self.root = os.path.join(check_folder(root), task)
        where = required(self.root, ["task_metadata.json"], LAYOUT)
        about = read_json(where, dict)
        if entry(about, "embedding_type", str, where) != "scene":
            raise UserError(f"{where}: the task is about events in time; only those about whole recordings are read")
        self._several = entry(about, "prediction_type", str, where) == "multilabel"
        self._names = self._vocabulary()
        self._rate = self._folder(rate)
        self._parts = self._splits(entry(about, "split_mode", str, where), fold)
        super().__init__(self._joined(self._parts.train).files, max_bad_fraction=max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The published splits, or folds."""
        return HeldOut(self._joined(self._parts.val).files, self._joined(self._parts.test).files)

    def tagged(self) -> TaggedSplits:
        """The recordings of each split with all their labels."""
        return TaggedSplits(*(self._tagged(self._joined(part)) for part in self._parts))

    def _tagged(self, split: Split) -> Tagged:
        return Tagged(split.files, memberships(split.labels, self._names), self._names)

    def _vocabulary(self) -> list[str]:
        required(self.root, ["labelvocabulary.csv"], LAYOUT)
        rows = read_table(self.root, "labelvocabulary.csv", ("idx", "label"))
        if sorted(row["idx"] for row in rows) != sorted(map(str, range(len(rows)))):
            raise UserError(f"{self.root}/labelvocabulary.csv: 'idx' must be 0 to {len(rows) - 1}")
        return [row["label"] for row in sorted(rows, key=lambda row: int(row["idx"]))]

    def _folder(self, rate: int | None) -> str:
        there = sorted((int(name) for name in folders_in(self.root) if name.isdecimal()), reverse=True)
        if not there:
            raise UserError(f"{self.root} has no folder named by a sample rate, such as 48000/; expected {LAYOUT}")
        if rate is not None and rate not in there:
            raise UserError(f"rate {rate} is not in {self.root}; allowed: {', '.join(map(str, there))}")
        return str(there[0] if rate is None else rate)

    def _splits(self, mode: str, fold: int | None) -> Parts:
        if mode == "trainvaltest":
            if fold is not None:
                raise UserError(f"{self.root} has no folds, but published splits: leave out fold={fold}")
            return Parts(["train"], ["valid"], ["test"])
        folds = sorted(name[:-5] for name in os.listdir(self.root) if re.fullmatch(r"fold\d+\.json", name))
        if len(folds) < 3:
            raise UserError(
                f"{self.root} has {len(folds)} folds, fold00.json and so on, and needs three; expected {LAYOUT}"
            )
        held = 0 if fold is None else fold
        if not 0 <= held < len(folds):
            raise UserError(f"fold must be 0 to {len(folds) - 1}: {fold}")
        test, val = folds[held], folds[(held + 1) % len(folds)]
        return Parts([name for name in folds if name not in (test, val)], [val], [test])

    def _joined(self, names: list[str]) -> Split:
        """The recordings of one split or of several folds that are there."""
        paths: list[str] = []
        labels: list[list[str]] = []
        for name in names:
            where = required(self.root, [f"{name}.json"], LAYOUT)
            for file, own in read_json(where, dict).items():
                paths.append(f"{self._rate}/{name}/{file}")
                labels.append(self._checked(own, f"{where}, {file}"))
        there = existing(self.root, paths, "recordings", f"{self.root}, {', '.join(names)}").tolist()
        labels = [labels[i] for i in there]
        factors = {} if self._several else {"class": factor([own[0] for own in labels], self._names)}
        return Split(SoundFiles(self.root, PathTable(paths[i] for i in there), self.view, factors), labels)

    def _checked(self, own: object, where: str) -> list[str]:
        if not isinstance(own, list) or not all(isinstance(name, str | int) for name in own):
            raise UserError(f"{where}: a list of labels expected, found {str(own)[:60]}")
        labels = [str(name) for name in own]
        strange = sorted(set(labels) - set(self._names))
        if strange:
            raise unknown(f"{where}: label", strange[0], self._names)
        if not self._several and len(labels) != 1:
            raise UserError(f"{where}: {len(labels)} labels in a task in which each recording has one")
        return labels
