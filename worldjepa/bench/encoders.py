"""The encoder of each row, with the hash of its weights, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from worldjepa.bench.subject import Subject
from worldjepa.data import Observations
from worldjepa.evaluate.cached import weights_hash
from worldjepa.evaluate.embed import Context
from worldjepa.interfaces import Encoder

LEARNED = ("trained", "untrained")
"""Rows that have an encoder."""


class Device(NamedTuple):
    """Where and how encoders run."""

    device: torch.device
    autocast: Context
    precision: str
    batch_size: int


class Encoders:
    """The encoders of a model's rows.

    Args:
        subject: the model.
        shown: gives the observations that tokenizers of untrained encoders are fitted on.
    """

    def __init__(self, subject: Subject, shown: Callable[[], Observations]) -> None:
        self.subject, self.shown = subject, shown
        self._untrained: dict[int, tuple[Encoder, str]] = {}

    def of(self, row: str, seed: int) -> tuple[Encoder, str]:
        """The encoder of a row, and the hash of its weights; of untrained ones the last is held."""
        if row == "trained":
            return self.subject.model.encoder, self.subject.weights
        if seed not in self._untrained:
            encoder = self.subject.untrained(seed, self.shown())
            self._untrained = {seed: (encoder, weights_hash(encoder))}
        return self._untrained[seed]

    def weights(self, row: str, seed: int) -> str | None:
        """The hash of the weights that a row is about."""
        return self.of(row, seed)[1] if row in LEARNED else None
