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
from worldjepa.world.model import WorldModel


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


LOW, HIGH = torch.full((2,), -1.0), torch.full((2,), 1.0)
