"""How observations of a modality become pictures: the one place where pictures know the modality."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.types import Grid


class Depiction(ABC):
    """Draws observations, and says which token lies where on the drawing.

    A modality's option file names its subclass, as `usual.depiction`.
    """

    @abstractmethod
    def pictures(self, obs: Shaped[Tensor, "B ..."], grid: Grid) -> UInt8[ndarray, "B F H W 3"]:
        """Each observation as F pictures, RGB, as many as `places` has.

        Args:
            obs: observations as a data set gives them.
            grid: the lattice that their tokens stand on.

        Raises:
            UserError: the observations are not of this modality.
        """

    def places(self, grid: Grid) -> Int64[ndarray, "F h w"]:
        """The number of the token that each cell of each picture shows; a picture is divided evenly among its cells.

        By default one picture a time step of the lattice, with rows and columns as they are there.
        """
        return np.arange(grid.size).reshape(grid.t, grid.h, grid.w)


def rgb(x: Shaped[Tensor, "*b C H W"]) -> UInt8[ndarray, "*b H W 3"]:
    """Pictures of any number of channels in colour.

    One channel is grey, two are orange and blue, of more than three the first three are shown. Floating-point values, which
    are normalised in ways not known here, are stretched from the least to the largest of all.
    """
    values = x.float()
    if x.is_floating_point():
        low, high = values.amin(), values.amax()
        values = 255 * (values - low) / (high - low).clamp_min(1e-12)
    if values.shape[-3] == 1:
        values = values.expand(*values.shape[:-3], 3, *values.shape[-2:])
    elif values.shape[-3] == 2:
        one, other = values.unbind(-3)
        values = torch.stack([one, (one + other) / 2, other], -3)
    pixels = values[..., :3, :, :].round().clamp(0, 255).to(torch.uint8)
    return pixels.movedim(-3, -1).numpy()


def not_of(what: str, obs: Tensor) -> UserError:
    """The error for observations that a depiction cannot draw."""
    return UserError(f"{what} cannot be drawn of observations {tuple(obs.shape[1:])}")
