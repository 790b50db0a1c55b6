"""Pictures: a block is hidden, and imagined from what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.imagine.asking import Block, corner, pose, sizes
from worldjepa.imagine.paint import colours, covered, enlarged, grown, heat, scaled, shrunk
from worldjepa.imagine.subject import Decode, Scenes, Subject, Tile
from worldjepa.jepa import JEPA
from worldjepa.types import Tokens

MOST_PIXELS = 64
"""Blocks with a longer side are decoded at a smaller scale."""


class Place(NamedTuple):
    """A block of a picture, in pixels."""

    top: int
    left: int
    bottom: int
    right: int


@final
class Blocks(Subject):
    """One block of a picture, as I-JEPA draws them: several are cut out of a large context, and the first is decoded.

    All blocks have the same size, and they are as square as the lattice allows.

    Args:
        model: a model of pictures.
        shape: of an observation, (C, H, W).
        share: of the picture that a block covers.
        targets: blocks that are cut out of the context.

    Raises:
        UserError: the observations are no pictures, or blocks do not fit.
    """

    def __init__(self, model: JEPA, shape: Sequence[int], share: float = 0.2, targets: int = 4) -> None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise UserError(f"blocks are imagined in pictures (channels, height, width), not in {tuple(shape)}")
        self.model, self.share, self.targets = model, share, targets
        self.grid = model.encoder.grid(shape)
        self.cell = shape[1] // self.grid.h, shape[2] // self.grid.w
        self.question = Block(self.grid, share, targets)
        self.size = sizes(self.question.extent, self.cell)

    def settings(self) -> dict[str, Any]:
        """The size of the blocks and how many are cut out."""
        return {"share": self.share, "targets": self.targets}

    def scenes(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator) -> Scenes:
        """Ask for a block of each picture.

        Raises:
            UserError: the pictures are not uint8.
        """
        if obs.dtype != torch.uint8:
            raise UserError(f"only uint8 pictures can be decoded, not {obs.dtype}: their range is not known")
        posed = pose(self.model, obs, self.question, rng)
        return Scenes(posed.predicted, posed.true, posed.where, self._crops(obs, posed.where), posed.seen)

    def rows(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> list[list[Tile]]:
        """For each picture: itself, what was seen, samples in their place, the control, where samples differ, the truth."""
        scenes = self.scenes(obs, cond, rng)
        decoded = decode(scenes.condition())
        spread = decoded.samples.std(1, correction=0).mean(1)  # [B, H, W]
        found = []
        for index in range(len(obs)):
            whole = colours(scaled(obs[index : index + 1]))[0]
            hidden = ~scenes.seen[index].cpu().numpy().reshape(self.grid.h, self.grid.w)
            place = self.place(scenes.where[index])
            samples = [self._pasted(whole, picture, place, hidden) for picture in decoded.samples[index]]
            tiles = [Tile("input", enlarged(whole, place)), Tile("context", enlarged(covered(whole, hidden), place))]
            tiles += [Tile(f"sample {number + 1}", pixels) for number, pixels in enumerate(samples)]
            tiles.append(Tile("regression", self._pasted(whole, decoded.control[index], place, hidden)))
            tiles.append(Tile("truth", enlarged(covered(whole, hidden, place), place)))
            map_ = heat(self._grown(spread[index][None])[0], 1.0)
            tiles.append(Tile("spread", enlarged(self._inside(np.zeros_like(whole), map_, place), place)))
            found.append(tiles)
        return found

    def place(self, where: Float[Tensor, " 4"]) -> Place:
        """The block in pixels."""
        row, column = corner(where, self.question.plane)
        top, left = row * self.cell[0], column * self.cell[1]
        return Place(top, left, top + self.size[0], left + self.size[1])

    def _crops(self, obs: UInt8[Tensor, "B C H W"], where: Float[Tensor, "B 4"]) -> Float[Tensor, "B C h w"]:
        places = [self.place(one) for one in where]
        crops = [one[:, at.top : at.bottom, at.left : at.right] for one, at in zip(obs, places, strict=True)]
        return shrunk(scaled(torch.stack(crops)), MOST_PIXELS)

    def _grown(self, picture: Float[Tensor, "C h w"]) -> Float[Tensor, "C H W"]:
        """A decoded picture at the scale of the observation."""
        return grown(picture[None], self.size)[0]

    def _pasted(
        self, whole: UInt8[ndarray, "H W 3"], picture: Float[Tensor, "C h w"], place: Place, hidden: ndarray
    ) -> UInt8[ndarray, "height width 3"]:
        drawn = colours(self._grown(picture)[None])[0]
        return enlarged(self._inside(covered(whole, hidden), drawn, place), place)

    @staticmethod
    def _inside(whole: UInt8[ndarray, "H W 3"], part: UInt8[ndarray, "h w 3"], place: Place) -> UInt8[ndarray, "H W 3"]:
        pasted = whole.copy()
        pasted[place.top : place.bottom, place.left : place.right] = part
        return pasted
