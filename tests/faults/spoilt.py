"""Patterns, one of which does harm when it is loaded for training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor

from modalities.image.data import Patterns
from modalities.image.observations import ArrayObservations

SAMPLE = 20


class Spoilt(Patterns):
    """64 patterns.

    Args:
        harm: what sample 20 does: `hang`, `segfault` or `kill`; `slow` makes every sample take a tenth of a second.
        notes: a file that counts how often it did.
        times: how often it does.
    """

    def __init__(self, harm: str, notes: str, times: int = 99, channels: int = 1) -> None:
        super().__init__(size=32, count=64, channels=channels, augment="crop")
        self.harm, self.notes, self.times = harm, notes, times

    def train(self) -> ArrayObservations:
        found = super().train()
        found.__class__ = Harmful
        found.__dict__.update(harm=self.harm, notes=self.notes, times=self.times)
        return found


class Harmful(ArrayObservations):
    """What the workers see."""

    harm: str
    notes: str
    times: int

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        if rng is not None and self.harm == "slow":
            time.sleep(0.1)
        elif rng is not None and index == SAMPLE:
            count = int(Path(self.notes).read_text()) if Path(self.notes).exists() else 0
            if count < self.times:
                Path(self.notes).write_text(str(count + 1))
                if self.harm == "hang":
                    time.sleep(600)
                os.kill(os.getpid(), signal.SIGSEGV if self.harm == "segfault" else signal.SIGKILL)
        return super().observe(index, rng)
