"""What data sets of made sounds have in common: settings, splits and cache."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from modalities.audio.frontend import front_end as named
from modalities.audio.observations import ArrayObservations
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Arrays, Key, cached, fingerprint
from worldjepa.errors import UserError


class Synthetic(DataSource):
    """Sounds that are made on first use and cached as spectrograms.

    Args:
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        count: the number of sounds to learn from.
        snr: least and largest distance of the noise, in decibels.
        seed: decides every sound.
        cache: where to keep the spectrograms, by default `$WORLDJEPA_HOME/datasets`.

    Raises:
        UserError: a value is out of its range.
    """

    channels = 1
    name: ClassVar[str]
    """Of the set, in the cache."""
    version: ClassVar[int]
    """Of what is made."""
    classes: ClassVar[Mapping[str, Sequence[str]]]
    """The classes of each factor."""
    probe_sizes: ClassVar[Mapping[str, int]]
    """Sounds in each split for probes."""

    def __init__(
        self, front_end: str, frames: int, count: int, snr: Sequence[float], seed: int, cache: str | None
    ) -> None:
        if min(frames, count) < 1:
            raise UserError(f"frames and count must be at least 1: frames={frames}, count={count}")
        if len(snr) != 2 or not snr[0] <= snr[1]:
            raise UserError(f"snr must be two levels in decibels, the lower one first: {list(snr)}")
        if seed < 0:
            raise UserError(f"seed must not be negative: {seed}")
        self.front_end = named(front_end)
        self.frames, self.count, self.seed, self.cache = int(frames), int(count), int(seed), cache
        self.snr = (float(snr[0]), float(snr[1]))

    @abstractmethod
    def make(self, split: str, count: int) -> Arrays:
        """The `spectrograms` of a split and, for each factor, its `label_NAME`."""

    def made_with(self) -> Key:
        """What else decides the sounds, such as the version of a synthesiser."""
        return {}

    def train(self) -> ArrayObservations:
        """The sounds to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits, none of which shares a sound with another or with the training sounds."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in self.probe_sizes.items()))

    def _split(self, split: str, count: int) -> ArrayObservations:
        key: Key = {
            "set": self.name,
            "version": self.version,
            **self.made_with(),
            "front_end": repr(self.front_end),
            "frames": self.frames,
            "low": self.snr[0],
            "high": self.snr[1],
            "seed": self.seed,
            "split": split,
            "count": count,
        }
        arrays = cached(self.name, key, lambda: self.make(split, count), self.cache)
        factors = {
            name: Labels(np.array(arrays[f"label_{name}"], np.int64), list(names))
            for name, names in self.classes.items()
        }
        return ArrayObservations(arrays["spectrograms"], factors, fingerprint(key))
