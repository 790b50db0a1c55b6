"""The embedded words as a data set: settings, splits and cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from modalities.audio import embedded, espeak
from modalities.audio.frontend import front_end as named
from modalities.audio.observations import ArrayObservations
from modalities.audio.speech import VERSION, VOICES, WORDS, speak_words
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Arrays, cached, fingerprint
from worldjepa.errors import UserError


class Words(DataSource):
    """Twenty spoken words in loud noise, synthesised on first use and cached as spectrograms; see `modalities.audio.speech`.

    The factors are word and voice (female or male). Probes are trained on the voices of the training sounds and tested on
    voices that are heard nowhere else. They have 2,400 sounds for training, 600 for validation and 1,500 for testing.

    Needs eSpeak NG, which is free software under the GPL-3: `pip install 'worldjepa[speech]'`.

    Args:
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        count: the number of sounds to learn from.
        snr: least and largest level of the word over the noise, in decibels.
        seed: decides every sound, and which voices are held out.
        cache: where to keep the spectrograms, by default `$WORLDJEPA_HOME/datasets`.

    Raises:
        UserError: a value is out of its range, or eSpeak NG is not installed or does not work.
    """

    channels = 1

    def __init__(
        self,
        front_end: str = "small_16k",
        frames: int = 64,
        count: int = 6_000,
        snr: Sequence[float] = (-3.0, 10.0),
        seed: int = 0,
        cache: str | None = None,
    ):
        if min(frames, count) < 1:
            raise UserError(f"frames and count must be at least 1: frames={frames}, count={count}")
        if len(snr) != 2 or not snr[0] <= snr[1]:
            raise UserError(f"snr must be two levels in decibels, the lower one first: {list(snr)}")
        if seed < 0:
            raise UserError(f"seed must not be negative: {seed}")
        self.front_end = named(front_end)
        self.frames, self.count, self.seed, self.cache = int(frames), int(count), int(seed), cache
        self.snr = (float(snr[0]), float(snr[1]))
        if not espeak.is_installed():
            raise UserError(f"data=words is spoken by eSpeak NG, which is not installed: pip install '{espeak.EXTRA}'")
        try:
            self.espeak = espeak.version()
        except espeak.EspeakError as error:
            raise UserError(f"data=words cannot be spoken: {error}") from error

    def train(self) -> ArrayObservations:
        """The sounds to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits; the voices for validation and for testing are heard in no other."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in embedded.PROBE_SIZES.items()))

    def _split(self, split: str, count: int) -> ArrayObservations:
        key = {
            "set": "words",
            "version": VERSION,
            "espeak": self.espeak,
            "front_end": repr(self.front_end),
            "frames": self.frames,
            "low": self.snr[0],
            "high": self.snr[1],
            "seed": self.seed,
            "split": split,
            "count": count,
        }
        arrays = cached("words", key, lambda: self._make(split, count), self.cache)
        classes = {"word": list(WORDS), "voice": list(VOICES)}
        factors = {name: Labels(np.array(arrays[f"label_{name}"], np.int64), names) for name, names in classes.items()}
        return ArrayObservations(arrays["spectrograms"], factors, fingerprint(key))

    def _make(self, split: str, count: int) -> Arrays:
        front = self.front_end
        made = np.empty((count, self.frames, front.bins), np.float16)
        try:
            chunks, labels = speak_words(count, front.samples(self.frames), front.rate, self.snr, self.seed, split)
        except espeak.EspeakError as error:
            raise UserError(f"data=words cannot be spoken: {error}") from error
        for waves, first in chunks:
            made[first : first + len(waves)] = front(torch.from_numpy(waves))[:, : self.frames].numpy()
        return {"spectrograms": made, **{f"label_{factor}": index for factor, index in labels.items()}}
