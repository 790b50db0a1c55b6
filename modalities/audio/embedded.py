"""The embedded textures as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from modalities.audio.frontend import FrontEnd
from modalities.audio.synthetic import Synthetic
from modalities.audio.textures import DENSITIES, VERSION, play_textures
from worldjepa.data.cache import Arrays
from worldjepa.data.textures import TEXTURES

_CHUNK = 64


class Textures(Synthetic):
    """Eight textures in time and pitch, played on first use and cached as spectrograms; see `modalities.audio.textures`.

    The factors are texture and density. Probes have 4,000 sounds for training, 1,000 for validation and 2,000 for testing.
    The arguments are those of `Synthetic`; the noise lies `snr` below the texture.

    Raises:
        UserError: a value is out of its range.
    """

    name = "textures"
    version = VERSION
    classes: ClassVar = {"texture": list(TEXTURES), "density": [f"{i}/{DENSITIES}" for i in range(1, DENSITIES + 1)]}
    probe_sizes: ClassVar = {"train": 4_000, "val": 1_000, "test": 2_000}

    def __init__(
        self,
        front_end: str = "small_16k",
        frames: int = 64,
        count: int = 10_000,
        snr: Sequence[float] = (10.0, 25.0),
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__(front_end, frames, count, snr, seed, cache)

    def make(self, split: str, count: int) -> Arrays:
        """The sounds as spectrograms, and their labels."""
        front_end = self.front_end
        pitches = (front_end.edges() / front_end.rate).numpy()
        sounds = play_textures(count, self.frames, front_end.hop, pitches, self.snr, self.seed, split)
        labels = {f"label_{factor}": index for factor, index in sounds.labels.items()}
        return {"spectrograms": spectrograms(sounds.waves, front_end, self.frames), **labels}


def spectrograms(waves: NDArray[np.float32], front_end: FrontEnd, frames: int) -> NDArray[np.float16]:
    """Log-mel spectrograms `[N, frames, F]` of waveforms `[N, S]` in half precision, whose steps are far below the noise."""
    made = np.empty((len(waves), frames, front_end.bins), np.float16)
    for start in range(0, len(waves), _CHUNK):
        part = front_end(torch.from_numpy(waves[start : start + _CHUNK]))[:, :frames]
        made[start : start + len(part)] = part.numpy()
    return made
