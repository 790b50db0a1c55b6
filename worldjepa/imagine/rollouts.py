"""World models: the first frames are seen, and what comes is imagined from what is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition
from worldjepa.imagine.paint import colours, enlarged, scaled
from worldjepa.imagine.subject import Decode, Scenes, Subject, Tile
from worldjepa.types import Tokens
from worldjepa.world.model import Frames, WorldModel

SHOWN = (1, 2, 4, 8, 12, 16, 24, 32)
"""After how many steps frames are shown, as far as windows reach."""
LINES = 2
"""Samples that are shown of a window, a line each."""


class Futures(NamedTuple):
    """The frames that follow what was seen: as they are imagined, and as they are."""

    imagined: Float[Tensor, "B H n D"]
    true: Float[Tensor, "B H n D"]


@final
class Rollouts(Subject):
    """One frame of the future of a window, some steps after the last one that was seen.

    Args:
        world: the world model.
        shape: of a window, (T, C, H, W).

    Raises:
        UserError: the frames are no pictures, or there are none to imagine.
    """

    def __init__(self, world: WorldModel, shape: Sequence[int]) -> None:
        if len(shape) != 4 or shape[1] not in (1, 2, 3):
            raise UserError(
                f"this model sees {tuple(shape)}: only frames that are pictures of 1 to 3 channels can be drawn"
            )
        self.world, self.seen = world, min(world.history, shape[0] - 1)
        self.horizon = shape[0] - self.seen
        if self.seen < 1:
            raise UserError(f"windows of {shape[0]} frame(s) leave nothing to imagine: give data.horizon")
        grid = world.encoder.grid(shape)
        self.lattice, self.frames = (grid.h, grid.w), shape[0]

    @property
    def repeat(self) -> int:
        """Actions between two frames."""
        spec = self.world.members[0].actions
        return 1 if spec is None else spec.repeat

    def frame(self, where: Float[Tensor, "B 1"]) -> Int[Tensor, " B"]:
        """Which frame of a window a scene is, from what it says of when it is."""
        return self.seen - 1 + (where[:, 0] * self.horizon).round().long()

    def settings(self) -> dict[str, Any]:
        """How many frames are seen, and how far is imagined."""
        return {"seen": self.seen, "horizon": self.horizon}

    @torch.no_grad()
    def futures(self, obs: Shaped[Tensor, "B T C H W"], cond: Tokens | None) -> Futures:
        """Imagine all that follows the first frames of each window."""
        frames = self.world.encode(obs)
        told = obs.new_zeros(len(obs), self.frames - 1, 0, dtype=torch.float32) if cond is None else cond.x.float()
        numbers = self.world.states
        acts = told[..., : told.shape[-1] - numbers]
        state = told[:, : self.seen, told.shape[-1] - numbers :] if numbers else None
        begun = Frames(frames.x[:, : self.seen], frames.pos, state)
        rollout = self.world.rollout(begun, acts[:, None, self.seen - 1 :], acts[:, : self.seen - 1])
        return Futures(rollout.states[:, 0].float(), frames.x[:, self.seen :].float())

    def condition(self, frames: Float[Tensor, "B n D"], ahead: Float[Tensor, " B"]) -> Condition:
        """Single frames so many steps ahead as conditions."""
        b, n, d = frames.shape
        return Condition(frames.transpose(1, 2).reshape(b, d, *self.lattice), (ahead / self.horizon)[:, None])

    def scenes(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator) -> Scenes:
        """Ask for one frame of each window, any number of steps ahead.

        Raises:
            UserError: the frames are not uint8.
        """
        if obs.dtype != torch.uint8:
            raise UserError(f"only uint8 pictures can be decoded, not {obs.dtype}: their range is not known")
        rows = torch.arange(len(obs), device=obs.device)
        step = torch.randint(self.horizon, (len(obs),), generator=rng).to(obs.device)
        futures = self.futures(obs, cond)
        predicted, true = (self.condition(part[rows, step], step + 1.0) for part in futures)
        cells = self.lattice[0] * self.lattice[1]
        seen = torch.arange(self.frames * cells, device=obs.device) < self.seen * cells
        picture = scaled(obs[rows, self.seen + step])
        return Scenes(predicted.x, true.x, predicted.where, picture, seen.expand(len(obs), -1))

    def rows(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> list[list[Tile]]:
        """For each window a line each of real frames, two samples and the control: the last seen, some, the trail of all."""
        b, h = len(obs), self.horizon
        imagined = self.futures(obs, cond).imagined
        ahead = torch.arange(1.0, h + 1, device=obs.device).repeat(b)
        decoded = decode(self.condition(imagined.flatten(0, 1), ahead))
        samples = decoded.samples.view(b, h, *decoded.samples.shape[1:])  # [B, H, S, C, h, w]
        control = decoded.control.view(b, h, *decoded.control.shape[1:])
        found = []
        for index in range(b):
            start = scaled(obs[index, self.seen - 1])
            found.append(self._line("real", start, scaled(obs[index, self.seen :])))
            for number in range(min(LINES, samples.shape[2])):
                found.append(self._line(f"sample {number + 1}", start, samples[index, :, number]))
            found.append(self._line("regression", start, control[index]))
        return found

    def _line(self, name: str, start: Float[Tensor, "C h w"], frames: Float[Tensor, "H C h w"]) -> list[Tile]:
        shown = [step for step in SHOWN if step <= self.horizon]
        trail = torch.cat([start[None].to(frames.device), frames]).amax(0, keepdim=True)
        pictures = torch.cat([start[None].to(frames.device), frames[[step - 1 for step in shown]], trail])
        captions = [f"{name}: seen", *(f"after {step}" for step in shown), "trail"]
        return [Tile(text, enlarged(pixels)) for text, pixels in zip(captions, colours(pictures), strict=True)]
