"""Observations that are files below one folder, whatever is in them."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod

import numpy as np
from jaxtyping import Integer
from numpy import ndarray
from numpy.typing import NDArray

from worldjepa.data import Labels, Observations
from worldjepa.data.paths import PathTable
from worldjepa.errors import UserError

_SAMPLED_FILES = 32
_SAMPLED_BYTES = 4096


class Files(Observations):
    """Files below one folder, one observation each, decoded when they are asked for.

    Args:
        root: the folder that the paths are relative to.
        paths: the files.
        factors: what is known about each file.
    """

    def __init__(self, root: str, paths: PathTable, factors: dict[str, Labels] | None = None):
        self.root, self.paths = root, paths
        self.factors = factors or {}

    @abstractmethod
    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> Files:
        """Other files below the same folder, seen the same way."""

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Where the file of a sample is."""
        return os.path.join(self.root, self.paths[index])

    def name(self, index: int) -> str:
        """The file of a sample."""
        return self.path(index)

    def select(self, indices: Integer[ndarray, " K"]) -> Files:
        """The samples at the given indices, in that order."""
        factors = {name: Labels(labels.index[indices], labels.names) for name, labels in self.factors.items()}
        return self.with_files(self.paths.select(indices), factors)

    def labelled(self, names: list[str], classes: list[str]) -> Files:
        """The same files with the class `names[i]` for the i-th; an empty name is none."""
        return self.with_files(self.paths, {"class": Labels(labels_from(names, classes), classes)})

    def fingerprint(self) -> str:
        """SHA-256 over all names, the shape of the observations, and the size and the first bytes of some of the files.

        The bytes tell apart folders that use the same names; reading all files would take too long.
        """
        digest = hashlib.sha256(f"{self.paths.fingerprint()} {self.shape}".encode())
        for index in np.linspace(0, len(self.paths) - 1, min(_SAMPLED_FILES, len(self.paths))).astype(int):
            try:
                with open(self.path(int(index)), "rb") as file:
                    digest.update(file.read(_SAMPLED_BYTES))
                    digest.update(str(os.fstat(file.fileno()).st_size).encode())
            except OSError as error:  # training leaves such files out; that they are missing is a fact like any other
                digest.update(type(error).__name__.encode())
        return digest.hexdigest()


def labels_from(names: list[str], classes: list[str]) -> NDArray[np.int64]:
    """The index in `classes` of each name; -1 where the name is empty."""
    index = {name: position for position, name in enumerate(classes)} | {"": -1}
    return np.array([index[name] for name in names], np.int64)


def check_share(max_bad_fraction: float) -> float:
    """Return the fraction.

    Raises:
        UserError: it is none.
    """
    if not 0 <= max_bad_fraction <= 1:
        raise UserError(f"max_bad_fraction must be between 0 and 1: {max_bad_fraction}")
    return float(max_bad_fraction)
