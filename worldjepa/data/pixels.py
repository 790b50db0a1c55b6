"""What data must offer for probes of single pixels: their classes, how far they are, and things to follow through videos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from worldjepa.data import Observations


class PixelObservations(Observations):
    """Pictures in which every pixel has a class."""

    @abstractmethod
    def labels(self, index: int) -> Int64[Tensor, "H W"]:
        """The class of every pixel of the evaluation view, from 0; `worldjepa.data.labels.IGNORED` where none is given.

        Raises:
            worldjepa.errors.Unreadable: there are no labels that can be read.
        """


class PixelSplits(NamedTuple):
    """Pictures to learn from, to choose on and to test on; see `worldjepa.evaluate.dense.segment`."""

    train: PixelObservations
    val: PixelObservations
    test: PixelObservations


class Segmented(ABC):
    """Data whose pictures come with the classes of their pixels."""

    pixel_classes: int
    """How many classes there are."""

    @abstractmethod
    def pixels(self) -> PixelSplits:
        """Pictures with the classes of their pixels.

        Raises:
            worldjepa.errors.UserError: something is missing.
        """


class DepthObservations(Observations):
    """Pictures of which is known how far every pixel is."""

    @abstractmethod
    def depth(self, index: int) -> Float32[Tensor, "H W"]:
        """How far every pixel of the evaluation view is, in metres along the view; 0 where it is not known or does not count.

        Raises:
            worldjepa.errors.Unreadable: there are no depths that can be read.
        """


class DepthSplits(NamedTuple):
    """Pictures to learn from, to choose on and to test on; see `worldjepa.evaluate.depth.estimate`."""

    train: DepthObservations
    val: DepthObservations
    test: DepthObservations


class Ranged(ABC):
    """Data whose pictures come with the depths of their pixels."""

    farthest: float
    """The largest depth that there is, in metres."""

    @abstractmethod
    def depths(self) -> DepthSplits:
        """Pictures with the depths of their pixels.

        Raises:
            worldjepa.errors.UserError: something is missing.
        """


class Tracked(NamedTuple):
    """A video and what is to be followed in it; see `worldjepa.evaluate.propagation`."""

    name: str
    frames: UInt8[Tensor, "T C h w"]
    labels: Int64[Tensor, "T H W"]
    """0 for the background, 1 to `objects`; as large as they are published, whatever the frames are resized to."""
    objects: int
    """How many things the first frame shows."""


class Tracking(ABC):
    """Data with videos in which things are to be followed."""

    @abstractmethod
    def names(self, split: str) -> list[str]:
        """The videos of a split, such as `val`.

        Raises:
            worldjepa.errors.UserError: there is no such list, or nothing of it is there.
        """

    @abstractmethod
    def frames(self, name: str) -> Observations:
        """The frames of a video, as single pictures: what tells the video from another of the same name."""

    @abstractmethod
    def extent(self, name: str) -> tuple[int, int]:
        """Rows and columns of a video's frames, as they are published."""

    @abstractmethod
    def sequence(self, name: str, size: tuple[int, int]) -> Tracked:
        """One video, its frames resized to `size`, rows and columns.

        Raises:
            worldjepa.errors.UserError: a frame has no map of objects.
            worldjepa.errors.Unreadable: a frame or a map cannot be read.
        """
