"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from modalities.image.batches import binary_batch, pickled_batch, read_pickle
from modalities.image.observations import ArrayObservations, View, checked_view
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.files import check_share
from worldjepa.data.labels import read_lines
from worldjepa.data.paths import PathTable, check_folder, nearest_entry
from worldjepa.data.splits import VAL_FRACTION, stratified
from worldjepa.data.tables import required
from worldjepa.data.views import Views
from worldjepa.errors import UserError


class Version(NamedTuple):
    """One of the two versions in which a set is published."""

    folder: str
    """What the archive unpacks to."""
    train: tuple[str, ...]
    test: str


class Part(NamedTuple):
    """The images of a split, and for each factor their classes."""

    images: UInt8[ndarray, "N 3 32 32"]
    labels: Int64[ndarray, "L N"]


class Cifar(DataSource):
    """CIFAR in either version, the binary one or the one for Python, whose pickles are read without unpickling.

    The test images are for tests. Probes choose their settings on a fifth of each class of the training images. For evaluation
    a whole image is resized to `size`; training takes random crops of it.

    Args:
        root: the folder that the archive unpacks to, or the one that it is in.
        size: side of the square views in pixels; the images have 32.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the image (I-JEPA, official configurations).
        seed: decides which images probes choose their settings on.
        max_bad_fraction: as for all data; these are read at once or not at all.
        views: how several views of an image are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: a file is missing, damaged or asks for more than images, or a setting is out of its range.
    """

    binary: ClassVar[Version]
    python: ClassVar[Version]
    factors: ClassVar[tuple[str, ...]]
    """What is known about each image."""
    names: ClassVar[tuple[str, ...]]
    """For each factor the file of the binary version with the names of its classes, one a line."""
    meta: ClassVar[tuple[str, tuple[str, ...]]]
    """The file of the version for Python with such names, and their keys."""
    keys: ClassVar[tuple[str, ...]]
    """For each factor the key of its labels in the version for Python."""

    def __init__(
        self,
        root: str,
        size: int = 32,
        channels: int = 3,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels = channels
        self.view = checked_view(size, channels, crop_scale, views)
        self.seed, self.max_bad_fraction = seed, check_share(max_bad_fraction)
        self.root, self.version = self._found(check_folder(root))
        self._classes = self._read_names()
        self._train = self._read(self.version.train)

    @staticmethod
    @abstractmethod
    def ordered(labels: Int64[ndarray, "L N"]) -> Int64[ndarray, "L N"]:
        """The labels that the binary version stores with each image, in the order of the factors."""

    def train(self) -> ArrayObservations:
        """All training images."""
        return self._observations(self._train, self.view)

    def probe(self) -> ProbeSplits:
        """Labelled splits."""
        names = PathTable(str(number) for number in range(len(self._train.images)))
        apart = stratified(names, self._train.labels[0], VAL_FRACTION, self.seed, "val")
        parts = [Part(self._train.images[rows], self._train.labels[:, rows]) for rows in (~apart, apart)]
        return ProbeSplits(*(self._observations(part) for part in (*parts, self._read((self.version.test,)))))

    def _found(self, root: str) -> tuple[str, Version]:
        for version in (self.binary, self.python):
            for folder in (root, os.path.join(root, version.folder)):
                if os.path.isfile(os.path.join(folder, version.train[0])):
                    return folder, version
        wanted = os.path.join(root, self.binary.folder, self.binary.train[0])
        raise UserError(
            f"{wanted} does not exist{nearest_entry(wanted)}; expected the folder {self.binary.folder}/ with "
            f"{', '.join((*self.binary.train, self.binary.test, *self.names))}, or {self.python.folder}/ with "
            f"{', '.join((*self.python.train, self.python.test, self.meta[0]))}"
        )

    def _read(self, files: tuple[str, ...]) -> Part:
        parts = [self._batch(required(self.root, [file], f"{', '.join(files)} in it")) for file in files]
        labels = np.concatenate([part.labels for part in parts], axis=1)
        for factor, found, classes in zip(self.factors, labels, self._classes, strict=True):
            if len(found) and not 0 <= found.min() <= found.max() < len(classes):
                raise UserError(f"{self.root}: a {factor} is {found.max()}, but there are {len(classes)} names")
        return Part(np.concatenate([part.images for part in parts]), labels)

    def _batch(self, path: str) -> Part:
        if self.version is self.python:
            return Part(*pickled_batch(path, self.keys))
        images, labels = binary_batch(path, len(self.factors))
        return Part(images, self.ordered(labels))

    def _read_names(self) -> list[list[str]]:
        if self.version is self.binary:
            return [read_lines(os.path.join(self.root, name), "data.root") for name in self.names]
        path = required(self.root, [self.meta[0]], "it beside the images, with the names of the classes")
        content = read_pickle(path)
        found = [content.get(key) for key in self.meta[1]]
        if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found):
            raise UserError(f"{path} has no lists of names called {', '.join(self.meta[1])}")
        return found  # type: ignore[return-value]

    def _observations(self, part: Part, view: View | None = None) -> ArrayObservations:
        """The images of a part, seen in training as the view says, and otherwise whole."""
        factors = {
            name: Labels(index, classes)
            for name, index, classes in zip(self.factors, part.labels, self._classes, strict=True)
        }
        images = part.images if self.channels == 3 else grey(part.images)
        crop, looks = (None, None) if view is None else (view.crop_scale, view.looks)
        return ArrayObservations(images, factors, crop_scale=crop, looks=looks, size=self.view.size)


def grey(images: UInt8[ndarray, "N 3 H W"]) -> UInt8[ndarray, "N 1 H W"]:
    """The images in grey, by the weights and the rounding of PIL."""
    red, green, blue = (images[:, channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[:, None]


class CIFAR10(Cifar):
    """CIFAR-10: 50,000 training and 10,000 test images of 32 pixels in 10 classes; see `Cifar`."""

    binary = Version("cifar-10-batches-bin", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
    python = Version("cifar-10-batches-py", tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    factors = ("class",)
    names = ("batches.meta.txt",)
    meta = ("batches.meta", ("label_names",))
    keys = ("labels",)

    @staticmethod
    def ordered(labels: Int64[ndarray, "L N"]) -> Int64[ndarray, "L N"]:
        """There is one."""
        return labels


class CIFAR100(Cifar):
    """CIFAR-100: as CIFAR-10, in 100 classes, which are the headline, and 20 superclasses; see `Cifar`."""

    binary = Version("cifar-100-binary", ("train.bin",), "test.bin")
    python = Version("cifar-100-python", ("train",), "test")
    factors = ("class", "superclass")
    names = ("fine_label_names.txt", "coarse_label_names.txt")
    meta = ("meta", ("fine_label_names", "coarse_label_names"))
    keys = ("fine_labels", "coarse_labels")

    @staticmethod
    def ordered(labels: Int64[ndarray, "L N"]) -> Int64[ndarray, "L N"]:
        """The superclass is stored first."""
        return labels[::-1]
