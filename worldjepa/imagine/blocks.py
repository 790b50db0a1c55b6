"""Pictures: a block is hidden, and imagined from what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.imagine.paint import colours, covered, enlarged, heat, scaled
from worldjepa.imagine.subject import Decode, Scenes, Subject, Tile, ask
from worldjepa.jepa import JEPA
from worldjepa.masks import MultiBlock, Plane, block_size
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
        if not 0 < share <= 0.5:
            raise UserError(f"block={share}: the share of the picture that is imagined must be above 0 and at most 0.5")
        self.model, self.share, self.targets = model, share, targets
        self.grid = model.encoder.grid(shape)
        self.cell = shape[1] // self.grid.h, shape[2] // self.grid.w
        self.extent = block_size(Plane.of(self.grid), share, 1.0)
        self.sampler = MultiBlock(targets, (share, share), (1.0, 1.0), min_context=min(16, self.grid.size // 4))

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
        (drawn,) = self.sampler(self.grid, len(obs), rng)
        masks = type(drawn)(drawn.context.to(obs.device), drawn.target[:, :1].to(obs.device))
        asked = ask(self.model, obs, masks)
        first = drawn.target[:, 0, 0]
        corner = torch.stack([first // self.grid.w, first % self.grid.w], 1)  # [B, 2], in tokens
        lattice = torch.tensor(self.grid[1:])
        where = torch.cat([corner / lattice, (torch.tensor(self.extent) / lattice).expand_as(corner)], 1)
        seen = torch.zeros(len(obs), self.grid.size, dtype=torch.bool)
        seen.scatter_(1, drawn.context[:, 0], True)
        predicted, true = (self._lattice(tokens) for tokens in asked)
        return Scenes(predicted, true, where.to(obs.device), self._crops(obs, where), seen.to(obs.device))

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
        top, left = (round(float(where[axis]) * self.grid[1 + axis]) * self.cell[axis] for axis in range(2))
        return Place(top, left, top + self.extent[0] * self.cell[0], left + self.extent[1] * self.cell[1])

    def _lattice(self, tokens: Tokens) -> Float[Tensor, "B D h w"]:
        x = tokens.x[:, 0].transpose(1, 2)  # [B, D, Q]
        return x.reshape(*x.shape[:2], *self.extent)

    def _crops(self, obs: UInt8[Tensor, "B C H W"], where: Float[Tensor, "B 4"]) -> Float[Tensor, "B C h w"]:
        places = [self.place(one) for one in where]
        crops = [one[:, at.top : at.bottom, at.left : at.right] for one, at in zip(obs, places, strict=True)]
        whole = scaled(torch.stack(crops))
        times = -(-max(whole.shape[2:]) // MOST_PIXELS)
        return whole if times == 1 else F.avg_pool2d(whole, times, ceil_mode=True)

    def _grown(self, picture: Float[Tensor, "C h w"]) -> Float[Tensor, "C H W"]:
        """A decoded picture at the scale of the observation."""
        size = self.extent[0] * self.cell[0], self.extent[1] * self.cell[1]
        if tuple(picture.shape[1:]) == size:
            return picture
        return F.interpolate(picture[None], size=size, mode="bilinear")[0]

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
