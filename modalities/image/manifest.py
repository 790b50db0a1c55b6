"""Images that a CSV file lists."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modalities.image.observations import ImageFiles, checked_view
from worldjepa.data import DataSource, ProbeSplits
from worldjepa.data.files import check_share
from worldjepa.data.labels import with_labels
from worldjepa.data.paths import PathTable, check_folder, nearest_entry
from worldjepa.data.splits import check_holdout, probe_splits, stratified
from worldjepa.data.tables import some
from worldjepa.data.views import Views
from worldjepa.errors import UserError, suggest

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a split may be called, in any case, and which split it is."""

DEFAULT_LABEL, DEFAULT_SPLIT = "label", "split"
"""Columns that need not be there, if nobody asked for them by another name."""


class Rows(NamedTuple):
    """The rows of one split, in the order of the file. A label is empty where none is given."""

    paths: list[str]
    labels: list[str]


class Manifest(DataSource):
    """Images listed in a CSV file with a header, one a row.

    Args:
        path: the CSV file.
        root: the folder that paths are relative to; by default the CSV file's own.
        image: the column with the paths.
        label: the column with the classes. If it has the default name, it may be missing; and single labels may be
            empty: those images are learnt from, but not probed.
        split: the column that says `train`, `val` or `test`. If it has the default name, it may be missing; without it,
            or without rows for `val` and `test`, a part of every class is held out, as `Folder` does.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        holdout: the fraction of each class that is held out for testing where the file gives no split.
        crop_scale: range of the area of training crops, as a fraction of the image (I-JEPA, official configurations).
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the images it has seen cannot be read.
        views: how several views of an image are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: the file, a column or an image is missing, or a split has an unknown name.
    """

    def __init__(
        self,
        path: str,
        root: str | None = None,
        image: str = "path",
        label: str = "label",
        split: str = "split",
        size: int = 224,
        channels: int = 3,
        holdout: float = 0.2,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels, self.seed, self.holdout = channels, seed, check_holdout(holdout)
        self.view = checked_view(size, channels, crop_scale, views)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root or os.path.dirname(os.path.abspath(os.path.expanduser(path))))
        parts = read_manifest(path, self.root, image, label, split)
        self._classes = sorted({name for part in parts.values() for name in part.labels if name})
        self._parts = {name: self._files(part) for name, part in parts.items()}

    def _files(self, part: Rows) -> ImageFiles:
        files = ImageFiles(self.root, PathTable(part.paths), self.view)
        return files.labelled(part.labels, self._classes) if self._classes else files

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        train = self._parts["train"]
        if not self._classes or len(self._parts) > 1:
            return np.zeros(len(train), np.bool_)
        return stratified(train.paths, train.factors["class"].index, self.holdout, self.seed, "test")

    def train(self) -> ImageFiles:
        """The training rows, less those that are held out."""
        files = self._parts["train"].select(np.flatnonzero(~self._held_out))
        if files.factors and (files.factors["class"].index < 0).any():
            files.factors = {}  # factors describe every sample or none
        return files

    def probe(self) -> ProbeSplits | None:
        """Labelled splits; None without labels, or if nothing is set apart for testing."""
        if not self._classes:
            return None
        train = with_labels(self._parts["train"].select(np.flatnonzero(~self._held_out)))
        val, test = self._parts.get("val"), self._parts.get("test")
        if test is not None:
            return probe_splits(train, None if val is None else with_labels(val), with_labels(test), self.seed)
        if val is not None:
            return probe_splits(train, None, with_labels(val), self.seed)
        if not self._held_out.any():
            return None
        return probe_splits(train, None, self._parts["train"].select(np.flatnonzero(self._held_out)), self.seed)


def read_manifest(path: str, root: str, image: str, label: str, split: str) -> dict[str, Rows]:
    """Read a CSV file with a header; return its splits by name, `"train"` always among them.

    Raises:
        UserError: the file or a column is missing, a split has an unknown name, there is nothing to train on, an
            image is listed twice or does not exist.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f"{path} does not exist{nearest_entry(path)}")
    parts: dict[str, Rows] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = [column for column in reader.fieldnames or [] if column]
        _check_columns(path, columns, image, label, split)
        for row in reader:
            name = (row.get(split) or "train").strip().lower()
            if name not in SPLIT_NAMES:
                raise UserError(
                    f"{path}, line {reader.line_num}: '{name}' is not a split{suggest(name, SPLIT_NAMES)}; "
                    "allowed: train, val, test"
                )
            part = parts.setdefault(SPLIT_NAMES[name], Rows([], []))
            part.paths.append((row[image] or "").strip())
            part.labels.append((row.get(label) or "").strip())
    if "train" not in parts:
        raise UserError(f"{path} lists no images to train on")
    _check_images(path, root, [listed for part in parts.values() for listed in part.paths])
    return parts


def _check_columns(path: str, columns: list[str], image: str, label: str, split: str) -> None:
    wanted = [image]
    wanted += [label] if label != DEFAULT_LABEL else []
    wanted += [split] if split != DEFAULT_SPLIT else []
    for column in wanted:
        if column not in columns:
            raise UserError(
                f"{path} has no column '{column}'{suggest(column, columns)}; "
                f"its columns are: {', '.join(columns) or 'none'}"
            )


def _check_images(path: str, root: str, listed: list[str]) -> None:
    twice = [name for name, times in Counter(listed).items() if times > 1]
    if twice:
        raise UserError(f"{path} lists {len(twice)} image(s) more than once: {some(twice)}")
    missing = [name for name in listed if not os.path.isfile(os.path.join(root, name))]
    if missing:
        raise UserError(f"{len(missing)} of the {len(listed)} images in {path} are not in {root}: {some(missing)}")
