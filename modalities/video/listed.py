"""Data sets that are a list of videos with a class each: what they do once the list is read."""

from __future__ import annotations

from typing import NamedTuple

from modalities.video.observations import Reading, VideoFiles
from modalities.video.segments import bare
from worldjepa.data import DataSource, Observations, ProbeSplits, tables
from worldjepa.data.files import check_share
from worldjepa.data.labels import with_labels
from worldjepa.data.paths import PathTable
from worldjepa.data.splits import probe_splits
from worldjepa.errors import UserError


class Listed(NamedTuple):
    """Videos relative to a folder, and their classes; empty where none is known."""

    root: str
    paths: list[str]
    labels: list[str]


class ListedSource(DataSource):
    """Videos to learn from and, if there are any with classes, others to test on.

    Args:
        train: what to learn from.
        val: what to test on; without it there are no probes.
        reading: how clips are read.
        classes: the names of the classes; by default those that occur in `train`, sorted.
        seed: decides which training videos probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.
    """

    def __init__(
        self,
        train: Listed,
        val: Listed | None,
        reading: Reading,
        classes: list[str] | None,
        seed: int,
        max_bad_fraction: float,
    ):
        self.reading, self.seed = reading, seed
        self.channels = reading.view.channels
        self.max_bad_fraction = check_share(max_bad_fraction)
        self._classes = sorted({name for name in train.labels if name}) if classes is None else classes
        self._train = self._files(train)
        self._val = None if val is None or not self._classes else with_labels(self._files(val))

    def videos(self, listed: Listed) -> VideoFiles:
        """What the paths of a list are: video files, unless a subclass says otherwise."""
        return self.reading.files(listed.root, PathTable(listed.paths))

    def labelled(self, files: VideoFiles, labels: list[str]) -> VideoFiles:
        """The videos with what is known of each: its class."""
        return files.labelled(labels, self._classes)

    def _files(self, listed: Listed) -> VideoFiles:
        known = set(self._classes)
        strange = sorted({name for name in listed.labels if name} - known)
        if strange:
            raise UserError(f"'{strange[0]}' is a class of no training video; {len(strange)} such classes in all")
        files = self.videos(listed)
        return self.labelled(files, listed.labels) if self._classes else files

    def train(self) -> Observations:
        """All clips of the training videos."""
        files = self._train
        if any((labels.index < 0).any() for labels in files.factors.values()):
            files = files.with_files(files.paths, {})  # factors describe every sample or none
        return self.reading.all_clips(files)

    def probe(self) -> ProbeSplits | None:
        """Labelled splits, a fifth of the training videos set apart to choose settings on; None without videos to test on."""
        if self._val is None or not len(self._val):
            return None
        return self.reading.all_splits(probe_splits(with_labels(self._train), None, self._val, self.seed))


def existing(listed: Listed, where: str) -> Listed:
    """The videos that are there. Copies of public sets are seldom whole, so missing ones are told, not fatal.

    Raises:
        UserError: none is there.
    """
    there = tables.existing(listed.root, [bare(path) for path in listed.paths], "videos", where).tolist()
    return Listed(listed.root, [listed.paths[i] for i in there], [listed.labels[i] for i in there])
