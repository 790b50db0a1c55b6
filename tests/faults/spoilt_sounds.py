"""A folder of recordings, one of which hangs when it is read for training."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from modalities.audio.data import Sounds
from modalities.audio.files import SoundFiles

SAMPLE = 5


class SpoiltSounds(Sounds):
    """Any folder of recordings.

    Args:
        root: the folder.
        notes: a file that counts how often the recording was tried.
        times: how often it hangs.
    """

    def __init__(
        self,
        root: str,
        notes: str,
        times: int = 99,
        front_end: str = "small_16k",
        frames: int = 32,
        holdout: float = 0.0,
        max_bad_fraction: float = 0.5,
    ) -> None:
        super().__init__(root, front_end, frames, holdout=holdout, max_bad_fraction=max_bad_fraction)
        self.notes, self.times = notes, times

    def train(self) -> SoundFiles:
        found = super().train()
        assert isinstance(found, SoundFiles)
        found.__class__ = Hanging
        found.__dict__.update(notes=self.notes, times=self.times)
        return found


class Hanging(SoundFiles):
    """What the workers see."""

    notes: str
    times: int

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        if rng is not None and index == SAMPLE:
            notes = Path(self.notes)
            count = int(notes.read_text()) if notes.exists() else 0
            if count < self.times:
                notes.write_text(str(count + 1))
                time.sleep(600)
        return super().observe(index, rng)
