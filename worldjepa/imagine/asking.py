"""What of an observation is hidden and asked for: a block of its plane, or its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.imagine.subject import Part, ask
from worldjepa.jepa import JEPA
from worldjepa.masks import MultiBlock, Plane, block_size
from worldjepa.types import Grid, Masks, Tokens


class Drawn(NamedTuple):
    """Tokens that are seen and tokens that are asked for, the latter a box, and its first row and column on the plane."""

    context: Int[Tensor, "B K"]
    asked: Int[Tensor, "B Q"]
    corner: Int[Tensor, "B 2"]


class Question(ABC):
    """What is asked of a model: always a box of tokens of one size.

    Args:
        grid: of the observation.
    """

    extent: tuple[int, int]
    """Rows and columns of the plane that the box takes."""
    depth: int
    """Slices of it."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.plane = grid, Plane.of(grid)

    @abstractmethod
    def draw(self, batch: int, rng: torch.Generator) -> Drawn:
        """Ask for a box of each of `batch` observations."""


@final
class Block(Question):
    """A block that lasts as long as the observation, as I-JEPA and V-JEPA draw them: several are hidden, one is asked for.

    Args:
        grid: of the observation.
        share: of the plane that a block covers; it is as square as the lattice allows.
        blocks: how many are hidden.

    Raises:
        UserError: blocks do not fit.
    """

    def __init__(self, grid: Grid, share: float, blocks: int) -> None:
        super().__init__(grid)
        if not 0 < share <= 0.5:
            raise UserError(f"block={share}: the share of the picture that is imagined must be above 0 and at most 0.5")
        self.extent, self.depth = block_size(self.plane, share, 1.0), self.plane.depth
        self.sampler = MultiBlock(blocks, (share, share), (1.0, 1.0), min_context=min(16, grid.size // 4))

    def draw(self, batch: int, rng: torch.Generator) -> Drawn:
        """Anywhere on the plane."""
        (masks,) = self.sampler(self.grid, batch, rng)
        asked = masks.target[:, 0]
        corner = torch.stack([asked[:, 0] // self.plane.cols, asked[:, 0] % self.plane.cols], 1)
        return Drawn(masks.context[:, 0], asked, corner)


@final
class End(Question):
    """The end of an observation: everything before it is seen, nothing is drawn.

    Args:
        grid: of the observation; its first axis is time.
        length: of the end, in tokens.

    Raises:
        UserError: nothing is left to be seen.
    """

    def __init__(self, grid: Grid, length: int) -> None:
        super().__init__(grid)
        if not 0 < length < grid.t:
            raise UserError(
                f"the end that is imagined must leave something to see: {length} of the {grid.t} steps of time of the lattice"
            )
        flat = self.plane.depth == 1
        self.extent = (length, self.plane.cols) if flat else (self.plane.rows, self.plane.cols)
        self.depth = 1 if flat else length
        self.length = length

    def draw(self, batch: int, rng: torch.Generator) -> Drawn:
        """The same of all."""
        first = (self.grid.t - self.length) * self.grid.h * self.grid.w
        row = self.plane.rows - self.extent[0]
        every = torch.arange(self.grid.size).expand(batch, -1)
        return Drawn(every[:, :first], every[:, first:], torch.tensor([row, 0]).expand(batch, -1))


class Posed(NamedTuple):
    """What a model says about a batch; see `Scenes`."""

    predicted: Float[Tensor, "B D h w"]
    true: Float[Tensor, "B D h w"]
    where: Float[Tensor, "B 4"]
    seen: Bool[Tensor, "B N"]


def question_of(grid: Grid, part: Part, frames: int) -> Question:
    """The question that words ask.

    Args:
        grid: of the observation.
        part: what is asked.
        frames: length of the observation; a token lasts as many of them as there are to one step of the lattice.

    Raises:
        UserError: it does not fit.
    """
    if not part.future:
        return Block(grid, part.block, part.blocks)
    lasts = frames // grid.t
    if part.future % lasts or not 0 < part.future < frames:
        raise UserError(
            f"future={part.future}: a multiple of the {lasts} frames of a token that leaves some of the {frames} frames to see"
        )
    return End(grid, part.future // lasts)


def pose(model: JEPA, obs: Tensor, question: Question, rng: torch.Generator) -> Posed:
    """Ask a model about a batch of observations.

    Raises:
        UserError: what it predicts cannot be decoded.
    """
    drawn = question.draw(len(obs), rng)
    masks = Masks(*(tokens[:, None].to(obs.device) for tokens in (drawn.context, drawn.asked)))
    predicted, true = (_lattice(tokens, question) for tokens in ask(model, obs, masks))
    sides = torch.tensor([question.plane.rows, question.plane.cols])
    where = torch.cat([drawn.corner / sides, (torch.tensor(question.extent) / sides).expand(len(obs), -1)], 1)
    seen = torch.zeros(len(obs), question.grid.size, dtype=torch.bool)
    seen.scatter_(1, drawn.context, True)
    return Posed(predicted, true, where.to(obs.device), seen.to(obs.device))


def corner(where: Float[Tensor, " 4"], plane: Plane) -> tuple[int, int]:
    """The first row and column of a box, in tokens."""
    return round(float(where[0]) * plane.rows), round(float(where[1]) * plane.cols)


def sizes(extent: Sequence[int], cell: Sequence[int]) -> tuple[int, int]:
    """Height and width of a box in pixels."""
    return extent[0] * cell[0], extent[1] * cell[1]


def _lattice(tokens: Tokens, question: Question) -> Float[Tensor, "B D h w"]:
    """Slices side by side in D."""
    x = tokens.x[:, 0]  # [B, depth*h*w, D]
    x = x.view(len(x), question.depth, -1, x.shape[-1]).transpose(2, 3)  # [B, depth, D, h*w]
    return x.reshape(len(x), -1, *question.extent)
