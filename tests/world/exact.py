"""A world that is understood exactly: the representation is the position, and an action is added to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modalities.trajectory.rooms import RoomsEnv
from worldjepa.dynamics import Dynamics
from worldjepa.interfaces import Encoder
from worldjepa.nn.actions import ActionSpec
from worldjepa.types import Grid, Tokens
from worldjepa.world.model import Frames, Rollout, WorldModel


class Positions(Encoder):
    """The state as it is."""

    dim = 2
    calls = 0

    def grid(self, obs_shape: Any) -> Grid:
        return Grid(obs_shape[0])

    def forward(self, obs: Any, keep: Any = None) -> Tokens:
        self.calls += 1
        assert keep is None
        return Tokens(obs.float(), self.grid(obs.shape[1:]).pos().expand(len(obs), -1, -1))


class Adding(Dynamics):
    """The next position is the last one plus what acts, times a factor."""

    def __init__(self, stride: float = 0.05, history: int = 1, repeat: int = 1) -> None:
        super().__init__(2, history, ActionSpec(2, repeat, low=[-1, -1], high=[1, 1]))
        self.stride = stride
        self.seen: list[int] = []

    def ahead(self, frames: Tensor, pos: Tensor, acting: Tensor, answers: int) -> Tensor:
        self.seen.append(frames.shape[1])
        step = self.stride * acting.reshape(*acting.shape[:2], -1, 2).sum(2)
        return (frames[:, :, 0] + step)[:, -answers:, None]


def exact(**settings: Any) -> WorldModel:
    return WorldModel(Positions(), Adding(**settings))


def empty() -> RoomsEnv:
    return RoomsEnv("empty", "state")


class Walled:
    """Positions that add up, and a wall that ends left of the goal: the way to the other side leads away from it first.

    Args:
        thick: half of how thick the wall is.
    """

    def __init__(self, thick: float = 0.0) -> None:
        self.thick = thick

    def rollout(self, history: Frames, actions: Tensor, past: Tensor | None = None) -> Rollout:
        at, states = history.x[:, None, -1, 0].expand(-1, actions.shape[1], -1), []
        for push in actions.unbind(2):
            to = at + 0.1 * push
            crossing = ((at[..., 1] < 0.5) != (to[..., 1] < 0.5)) | ((to[..., 1] - 0.5).abs() < self.thick)
            shut = crossing & ((at[..., 0] > 0.2) | (to[..., 0] > 0.2))
            at = torch.where(shut[..., None], at, to).clamp(0, 1)
            states.append(at)
        return Rollout(torch.stack(states, 2)[:, :, :, None], actions, None, actions.shape[1] * actions.shape[2])


LOW, HIGH = torch.full((2,), -1.0), torch.full((2,), 1.0)
