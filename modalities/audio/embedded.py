"""The data sets that are played by formula: splits, cache and checks of settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from modalities.audio.frontend import FrontEnd
from modalities.audio.frontend import front_end as named
from modalities.audio.observations import ArrayObservations
from modalities.audio.tunes import STEPS, TUNES, play_tunes
from modalities.audio.tunes import VERSION as TUNES_VERSION
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Arrays, cached, fingerprint
from worldjepa.errors import UserError

PROBE_SIZES = {"train": 2_400, "val": 600, "test": 1_500}
"""Sounds in each split for probes."""

_CHUNK = 64


class Tunes(DataSource):
    """Six tunes of the same four notes, played on first use and cached as spectrograms; see `modalities.audio.tunes`.

    The factors are tune, tempo and register. Probes have 2,400 sounds for training, 600 for validation and
    1,500 for testing.

    Args:
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        count: the number of sounds to learn from.
        snr: least and largest level of the tune over the noise, in decibels.
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
        count: int = 6_000,
        snr: Sequence[float] = (6.0, 6.0),
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
            "set": "tunes",
            "version": TUNES_VERSION,
            "front_end": repr(self.front_end),
            "frames": self.frames,
            "low": self.snr[0],
            "high": self.snr[1],
            "seed": self.seed,
            "split": split,
            "count": count,
        }

        def make() -> Arrays:
            sounds = play_tunes(
                count, self.front_end.samples(self.frames), self.front_end.rate, self.snr, self.seed, split
            )
            labels = {f"label_{factor}": index for factor, index in sounds.labels.items()}
            return {"spectrograms": spectrograms(sounds.waves, self.front_end, self.frames), **labels}

        bins = [f"{step}/{STEPS}" for step in range(1, STEPS + 1)]
        classes = {
            "tune": list(TUNES),
            "tempo": bins,
            "register": bins,
        }
        arrays = cached("tunes", key, make, self.cache)
        factors = {name: Labels(np.array(arrays[f"label_{name}"], np.int64), names) for name, names in classes.items()}
        return ArrayObservations(arrays["spectrograms"], factors, fingerprint(key))


def spectrograms(waves: NDArray[np.float32], front_end: FrontEnd, frames: int) -> NDArray[np.float16]:
    """Log-mel spectrograms `[N, frames, F]` of waveforms `[N, S]` in half precision, whose steps are far below the noise."""
    made = np.empty((len(waves), frames, front_end.bins), np.float16)
    for start in range(0, len(waves), _CHUNK):
        part = front_end(torch.from_numpy(waves[start : start + _CHUNK]))[:, :frames]
        made[start : start + len(part)] = part.numpy()
    return made
