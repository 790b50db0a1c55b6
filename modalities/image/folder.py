"""Any folder of images as a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from modalities.image.files import check_folder, scan
from modalities.image.labels import class_folders, label_by_folder
from modalities.image.observations import ImageFiles, check_share, checked_view
from modalities.image.splits import check_holdout, probe_splits, stratified
from worldjepa.data import DataSource, ProbeSplits


class Folder(DataSource):
    """Any folder of images, nested or flat.

    `train/` in it, with `val/`, `test/` or both beside it, are taken as the splits. If the folders at the first level
    of the training part, at least two, all contain images, and no image lies beside them, they are the classes.

    Without labels there are no probes. With labels, probes are tested on `test/`, or else `val/`, or else on a part of
    every class that is held out of training; their settings are chosen on `val/` where `test/` is there as well, or
    else on 20 % of the labelled training images.

    Args:
        root: the folder.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB; files of any kind are converted.
        holdout: the fraction of each class that is held out for testing where there is no split on disk; 0 for none,
            and then there are no probes.
        crop_scale: range of the area of training crops, as a fraction of the image (I-JEPA, official configurations).
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the images it has seen cannot be read.

    Raises:
        UserError: there is no such folder or no image in it, or a number is out of its range.
    """

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: int = 3,
        holdout: float = 0.2,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ):
        self.channels, self.seed, self.holdout = channels, seed, check_holdout(holdout)
        self.view = checked_view(size, channels, crop_scale)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        nested = os.path.isdir(os.path.join(self.root, "train"))
        self._splits = [name for name in ("val", "test") if nested and os.path.isdir(os.path.join(self.root, name))]
        train = os.path.join(self.root, "train") if nested else self.root
        everything = ImageFiles(train, scan(train), self.view)
        self._classes = class_folders(everything)
        self._files = label_by_folder(everything, self._classes) if self._classes else everything

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        if not self._classes or self._splits:
            return np.zeros(len(self._files), np.bool_)
        return stratified(self._files.paths, self._files.factors["class"].index, self.holdout, self.seed, "test")

    def train(self) -> ImageFiles:
        """All images, less those that are held out."""
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
            return probe_splits(self.train(), parts.get("val") if len(parts) > 1 else None, test, self.seed)
        if not self._held_out.any():
            return None
        return probe_splits(self.train(), None, self._files.select(np.flatnonzero(self._held_out)), self.seed)

    def _labelled_part(self, name: str) -> ImageFiles:
        root = os.path.join(self.root, name)
        return label_by_folder(ImageFiles(root, scan(root), self.view), self._classes)
