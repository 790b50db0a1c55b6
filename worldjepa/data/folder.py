"""Any folder of files as a data set."""

from __future__ import annotations

import os
from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from worldjepa.data import DataSource, Observations, ProbeSplits
from worldjepa.data.files import Files, check_share
from worldjepa.data.labels import class_folders, label_by_folder
from worldjepa.data.paths import Kind, PathTable, check_folder, scan
from worldjepa.data.splits import check_holdout, probe_splits, stratified


class FolderSource(DataSource):
    """Any folder of files of one kind, nested or flat.

    `train/` in it, with `val/`, `test/` or both beside it, are taken as the splits. If the folders at the first level
    of the training part, at least two, all contain files of the kind, and none lies beside them, they are the classes.

    Without labels there are no probes. With labels, probes are tested on `test/`, or else `val/`, or else on a part of
    every class that is held out of training; their settings are chosen on `val/` where `test/` is there as well, or
    else on 20 % of the labelled training files.

    Args:
        root: the folder.
        holdout: the fraction of each class that is held out for testing where there is no split on disk; 0 for none,
            and then there are no probes.
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the files it has seen cannot be read.

    Raises:
        UserError: there is no such folder or no file of the kind in it, or a number is out of its range.
    """

    kind: ClassVar[Kind]
    """What to look for."""

    def __init__(self, root: str, holdout: float = 0.2, seed: int = 0, max_bad_fraction: float = 0.05):
        self.seed, self.holdout = seed, check_holdout(holdout)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        nested = os.path.isdir(os.path.join(self.root, "train"))
        self._splits = [name for name in ("val", "test") if nested and os.path.isdir(os.path.join(self.root, name))]
        train = os.path.join(self.root, "train") if nested else self.root
        everything = self.files(train, scan(train, self.kind))
        self._classes = class_folders(everything)
        self._files = label_by_folder(everything, self._classes) if self._classes else everything

    @abstractmethod
    def files(self, root: str, paths: PathTable) -> Files:
        """The observations that these files are."""

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        if not self._classes or self._splits:
            return np.zeros(len(self._files), np.bool_)
        return stratified(self._files.paths, self._files.factors["class"].index, self.holdout, self.seed, "test")

    def train(self) -> Observations:
        """All files, less those that are held out."""
        return self._kept()

    def _kept(self) -> Files:
        return self._files.select(np.flatnonzero(~self._held_out)) if self._held_out.any() else self._files

    def probe(self) -> ProbeSplits | None:
        """Labelled splits; None without class folders, or if nothing is set apart for testing.

        Raises:
            UserError: `val/` or `test/` has no class folders or a class that `train/` lacks.
        """
        if not self._classes:
            return None
        if self._splits:
            parts = {name: self._labelled_part(name) for name in self._splits}
            test = parts.get("test", parts.get("val"))
            assert test is not None
            return probe_splits(self._kept(), parts.get("val") if len(parts) > 1 else None, test, self.seed)
        if not self._held_out.any():
            return None
        return probe_splits(self._kept(), None, self._files.select(np.flatnonzero(self._held_out)), self.seed)

    def _labelled_part(self, name: str) -> Files:
        root = os.path.join(self.root, name)
        return label_by_folder(self.files(root, scan(root, self.kind)), self._classes)
