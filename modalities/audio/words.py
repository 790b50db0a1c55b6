"""The embedded words as a data set: settings, splits and cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from modalities.audio import espeak
from modalities.audio.speech import VERSION, VOICES, WORDS, speak_words
from modalities.audio.synthetic import Synthetic
from worldjepa.data.cache import Arrays, Key
from worldjepa.errors import UserError


class Words(Synthetic):
    """Twenty spoken words in loud noise, synthesised on first use and cached as spectrograms; see `modalities.audio.speech`.

    The factors are word and voice (female or male). Probes are trained on the voices of the training sounds and tested on
    voices that are heard nowhere else. They have 2,400 sounds for training, 600 for validation and 1,500 for testing.

    Needs eSpeak NG, which is free software under the GPL-3: `pip install 'worldjepa[speech]'`.

    The arguments are those of `Synthetic`; while it lasts the word is `snr` decibels above the noise, and `seed` also decides
    which voices are held out.

    Raises:
        UserError: a value is out of its range, or eSpeak NG is not installed or does not work.
    """

    name = "words"
    version = VERSION
    classes: ClassVar = {"word": WORDS, "voice": list(VOICES)}
    probe_sizes: ClassVar = {"train": 2_400, "val": 600, "test": 1_500}

    def __init__(
        self,
        front_end: str = "small_16k",
        frames: int = 64,
        count: int = 6_000,
        snr: Sequence[float] = (-3.0, 10.0),
        seed: int = 0,
        cache: str | None = None,
    ):
        super().__init__(front_end, frames, count, snr, seed, cache)
        if not espeak.is_installed():
            raise UserError(f"data=words is spoken by eSpeak NG, which is not installed: pip install '{espeak.EXTRA}'")
        try:
            self.espeak = espeak.version()
        except espeak.EspeakError as error:
            raise UserError(f"data=words cannot be spoken: {error}") from error

    def made_with(self) -> Key:
        """The version of the synthesiser."""
        return {"espeak": self.espeak}

    def make(self, split: str, count: int) -> Arrays:
        """The words as spectrograms, and their labels."""
        front = self.front_end
        made = np.empty((count, self.frames, front.bins), np.float16)
        try:
            chunks, labels = speak_words(count, front.samples(self.frames), front.rate, self.snr, self.seed, split)
        except espeak.EspeakError as error:
            raise UserError(f"data=words cannot be spoken: {error}") from error
        for waves, first in chunks:
            made[first : first + len(waves)] = front(torch.from_numpy(waves))[:, : self.frames].numpy()
        return {"spectrograms": made, **{f"label_{factor}": index for factor, index in labels.items()}}
