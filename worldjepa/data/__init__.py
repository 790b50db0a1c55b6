"""What a data set must offer, whatever its modality; beside it, what data sets on disk have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from worldjepa.data.views import View


@dataclass(frozen=True, eq=False)
class Labels:
    """One factor to probe for: a class index per sample and the names of the classes."""

    index: NDArray[np.int64]
    names: list[str]


class Observations(ABC):
    """An indexed set of observations. Subclasses are pickled to data workers, so they hold no open files.

    `shape` is the shape of every observation, without the batch axis; `factors` maps the names of what is known about the
    samples (`"class"`, `"shape"`, `"count"`) to labels, and is empty for unlabelled data. The first factor is the headline.
    """

    shape: tuple[int, ...]
    factors: dict[str, Labels]
    views: int = 1
    """How many views of a sample `observe` gives where it is handed a generator; several come as `[V, *shape]`."""
    in_memory: bool = False
    """Observing costs less than a trip to a worker process; then training loads without workers by default."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def observe(self, index: int, rng: torch.Generator | None = None) -> View:
        """Return one observation: augmented, all randomness taken from `rng`, or the plain evaluation view without `rng`.

        Where `views` is more than 1, `rng` brings so many augmented ones, `[V, *shape]`; the plain view stays one, `[*shape]`.

        uint8 observations are normalised by the tokenizer; floating-point ones are taken as they are. Data with actions
        return a `worldjepa.data.views.Conditioned`, all of them or none.

        Raises:
            worldjepa.errors.Unreadable: the sample's data are damaged, missing or refused. Training takes another sample in
                its place and lists it; evaluation leaves it out.
        """

    def name(self, index: int) -> str:
        """What a person would call the sample, such as its path: for the list of unreadable ones."""
        return f"sample {index}"

    @abstractmethod
    def fingerprint(self) -> str:
        """A short string that changes whenever the samples or their order change."""


class ProbeSplits(NamedTuple):
    """Labelled observations for probes; none of the test samples takes part in training or in any choice."""

    train: Observations
    val: Observations
    test: Observations


class DataSource(ABC):
    """What `data=` in a configuration names: the observations to learn from, and labelled ones for probes if there are any."""

    channels: int
    max_bad_fraction: float = 0.05
    """Training stops when more than this share of the samples it has seen cannot be read."""

    @abstractmethod
    def train(self) -> Observations:
        """The observations to learn from; labels are not used."""

    @abstractmethod
    def probe(self) -> ProbeSplits | None:
        """Labelled splits, or None where the data carry no labels."""
