"""The data sets that are played by formula: splits, cache and checks of settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from modalities.audio.frontend import FrontEnd
from modalities.audio.frontend import front_end as named
from modalities.audio.observations import ArrayObservations
from modalities.audio.textures import DENSITIES, VERSION, play_textures
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Arrays, cached, fingerprint
from worldjepa.data.textures import TEXTURES
from worldjepa.errors import UserError

PROBE_SIZES = {"train": 4_000, "val": 1_000, "test": 2_000}
"""Sounds in each split for probes."""

_CHUNK = 64


class Textures(DataSource):
    """Eight textures in time and pitch, played on first use and cached as spectrograms; see `modalities.audio.textures`.

    The factors are texture and density. Probes have 4,000 sounds for training, 1,000 for validation and 2,000 for testing.

    Args:
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        count: the number of sounds to learn from.
        snr: least and largest level of the texture over the noise, in decibels.
        seed: decides every sound.
        cache: where to keep the spectrograms, by default `$WORLDJEPA_HOME/datasets`.

    Raises:
        UserError: a value is out of its range.
    """

    channels = 1

    def __init__(
        self,
        front_end: str = "small_16k",
        frames: int = 64,
        count: int = 10_000,
        snr: Sequence[float] = (10.0, 25.0),
        seed: int = 0,
        cache: str | None = None,
    ):
        if min(frames, count) < 1:
            raise UserError(f"frames and count must be at least 1: frames={frames}, count={count}")
        if len(snr) != 2 or not snr[0] <= snr[1]:
            raise UserError(f"snr must be two levels in decibels, the lower one first: {list(snr)}")
        self.front_end, self.name = named(front_end), front_end
        self.frames, self.count, self.seed, self.cache = int(frames), int(count), int(seed), cache
        self.snr = (float(snr[0]), float(snr[1]))

    def train(self) -> ArrayObservations:
        """The sounds to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits, none of which shares a sound with another or with the training sounds."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in PROBE_SIZES.items()))

    def _split(self, split: str, count: int) -> ArrayObservations:
        key = {
            "set": "textures",
            "version": VERSION,
            "front_end": repr(self.front_end),
            "frames": self.frames,
            "low": self.snr[0],
            "high": self.snr[1],
            "seed": self.seed,
            "split": split,
            "count": count,
        }

        def make() -> Arrays:
            front_end = self.front_end
            pitches = (front_end.edges() / front_end.rate).numpy()
            sounds = play_textures(count, self.frames, front_end.hop, pitches, self.snr, self.seed, split)
            labels = {f"label_{factor}": index for factor, index in sounds.labels.items()}
            return {"spectrograms": spectrograms(sounds.waves, front_end, self.frames), **labels}

        classes = {"texture": list(TEXTURES), "density": [f"{step}/{DENSITIES}" for step in range(1, DENSITIES + 1)]}
        arrays = cached("textures", key, make, self.cache)
        factors = {name: Labels(np.array(arrays[f"label_{name}"], np.int64), names) for name, names in classes.items()}
        return ArrayObservations(arrays["spectrograms"], factors, fingerprint(key))


def spectrograms(waves: NDArray[np.float32], front_end: FrontEnd, frames: int) -> NDArray[np.float16]:
    """Log-mel spectrograms `[N, frames, F]` of waveforms `[N, S]` in half precision, whose steps are far below the noise."""
    made = np.empty((len(waves), frames, front_end.bins), np.float16)
    for start in range(0, len(waves), _CHUNK):
        part = front_end(torch.from_numpy(waves[start : start + _CHUNK]))[:, :frames]
        made[start : start + len(part)] = part.numpy()
    return made
