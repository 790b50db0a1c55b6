"""Files with several classes each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from worldjepa.data.files import Files


class Tagged(NamedTuple):
    """Files that may belong to several classes each, or to none."""

    files: Files
    members: Bool[ndarray, "N C"]
    """Which classes each belongs to."""
    names: list[str]
    """The classes."""


class TaggedSplits(NamedTuple):
    """What to learn tags from, what to choose on, and what to test on."""

    train: Tagged
    val: Tagged
    test: Tagged


class TaggedSource(ABC):
    """Data whose files may belong to several classes each."""

    @abstractmethod
    def tagged(self) -> TaggedSplits:
        """The files of each split with all their classes.

        Raises:
            worldjepa.errors.UserError: a list is missing or damaged.
        """


def memberships(tags: list[list[str]], names: list[str]) -> Bool[ndarray, "N C"]:
    """Which of the classes each sample belongs to."""
    place = {name: index for index, name in enumerate(names)}
    members = np.zeros((len(tags), len(names)), np.bool_)
    for row, own in enumerate(tags):
        members[row, [place[name] for name in own]] = True
    return members
