"""Sounds as pictures: spectrograms, time to the right, frequency upwards."""

from __future__ import annotations

from typing import final

import numpy as np
from jaxtyping import Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.types import Grid
from worldjepa.visual.colours import heat
from worldjepa.visual.depiction import Depiction, not_of

QUIET, LOUD = 0.02, 0.995
"""Quantiles of the energies of all sounds shown that are darkest and lightest."""


@final
class Spectrograms(Depiction):
    """One picture a sound."""

    def pictures(self, obs: Shaped[Tensor, "B ..."], grid: Grid) -> UInt8[ndarray, "B F H W 3"]:
        """The log-mel spectrograms `[B, 1, T, F]`."""
        if obs.ndim != 4 or obs.shape[1] != 1 or grid.w != 1:
            raise not_of("spectrograms", obs)
        energies = obs[:, 0].float().transpose(1, 2).flip(1).numpy()  # [B, F, T], the lowest band at the bottom
        low, high = np.quantile(energies, (QUIET, LOUD))
        return heat(energies, float(low), float(high))[:, None]

    def places(self, grid: Grid) -> Int64[ndarray, "F h w"]:
        """Steps of time are columns, bands are rows from the bottom up."""
        return np.arange(grid.size).reshape(grid.t, grid.h).T[None, ::-1].copy()
