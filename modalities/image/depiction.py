"""Images as pictures: as they are."""

from __future__ import annotations

from typing import final

from jaxtyping import Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.types import Grid
from worldjepa.visual.depiction import Depiction, not_of, rgb


@final
class Images(Depiction):
    """One picture an image."""

    def pictures(self, obs: Shaped[Tensor, "B ..."], grid: Grid) -> UInt8[ndarray, "B F H W 3"]:
        """The images `[B, C, H, W]`."""
        if obs.ndim != 4 or grid.t != 1:
            raise not_of("images", obs)
        return rgb(obs)[:, None]
