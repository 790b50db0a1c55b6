"""Data sets whose own lists say what to learn from and what to test on."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.files import Files, check_share, labels_from
from worldjepa.data.labels import labelled
from worldjepa.data.splits import probe_splits
from worldjepa.data.tables import existing


class HeldOut(NamedTuple):
    """What a data set keeps apart: for choices, if it has such, and for tests, if those have labels."""

    val: Files | None
    test: Files | None


class Published(DataSource):
    """Files with published splits.

    Where the labels of the test split are not published, as is often so, the validation split is for tests, and probes choose
    their settings on a fifth of the training files.

    Args:
        train: what to learn from.
        seed: decides what probes choose their settings on where the set does not say.
        max_bad_fraction: training stops when more than this share of the files it has seen cannot be read.
    """

    def __init__(self, train: Files, seed: int = 0, max_bad_fraction: float = 0.05):
        self._train, self.seed = train, seed
        self.max_bad_fraction = check_share(max_bad_fraction)

    @abstractmethod
    def held_out(self) -> HeldOut:
        """What the set keeps apart, with the factors that the training files have.

        Raises:
            worldjepa.errors.UserError: its list is missing or damaged.
        """

    def train(self) -> Files:
        """All files of the training split."""
        return self._train

    def probe(self) -> ProbeSplits | None:
        """Labelled splits; None where the files carry no single class each."""
        if not self._train.factors:
            return None
        val, test = self.held_out()
        return None if test is None else probe_splits(self._train, val, test, self.seed)


def classified(files: Files, names: list[str], classes: list[str], kind: str, where: str) -> Files:
    """Of listed files those that are there, each with the name of its class.

    Args:
        files: all that are listed.
        names: the class of each.
        classes: all of them.
        kind: what the files are, in the plural.
        where: the list, for messages.

    Raises:
        worldjepa.errors.UserError: none of the files is there, or a name is no class.
    """
    there = existing(files.root, list(files.paths), kind, where)
    return labelled(files.select(there), [names[i] for i in there.tolist()], classes, where)


def factor(names: list[str], classes: list[str]) -> Labels:
    """What is known about each sample, by the names of the classes."""
    return Labels(labels_from(names, classes), classes)
