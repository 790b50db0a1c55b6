"""What representations tell about the state, and how far imagination can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import GoalEnvironment
from worldjepa.world.model import WorldModel
from worldjepa.world.record import TOGETHER, record, whole

RIDGE = 1e-6
"""Penalty of the regression, as a share of the mean variance of the features."""
CHUNK = 256


class StateProbe(NamedTuple):
    """A linear regression from a frame's representation to the state, and how well it does on states it was not fitted to."""

    weight: Float[Tensor, "F S"]
    bias: Float[Tensor, " S"]
    r2: float
    """Share of the variance that is explained, mean over those numbers of the state that vary at all."""

    def __call__(self, frames: Float[Tensor, "*b n D"]) -> Float[Tensor, "*b S"]:
        """The state that representations tell of."""
        return frames.flatten(-2).to(self.weight.dtype) @ self.weight + self.bias


@torch.no_grad()
def encoded(model: WorldModel, obs: Shaped[ndarray, "N ..."]) -> Float[Tensor, "N n D"]:
    """Single frames, encoded each by itself."""
    parts = [model.encode(torch.from_numpy(np.ascontiguousarray(part))[:, None]).x[:, 0] for part in _chunks(obs)]
    return torch.cat(parts)


def _chunks(obs: Shaped[ndarray, "N ..."]) -> list[Shaped[ndarray, "M ..."]]:
    return [obs[start : start + CHUNK] for start in range(0, len(obs), CHUNK)]


def fit_probe(model: WorldModel, environment: GoalEnvironment, seeds: Int64[ndarray, " N"]) -> StateProbe:
    """Fit on four fifths of random states, one for each seed, and judge on the rest.

    Raises:
        UserError: there are fewer than ten.
    """
    if len(seeds) < 10:
        raise UserError(f"a probe needs at least 10 states, not {len(seeds)}")
    codes, states = [], []
    for first in range(0, len(seeds), TOGETHER):
        codes.append(encoded(model, environment.reset(seeds[first : first + TOGETHER])).flatten(1).double())
        states.append(torch.from_numpy(environment.state()).double())
    z, state = torch.cat(codes), torch.cat(states)  # [N, F], [N, S]
    cut = len(seeds) * 4 // 5
    mean, centre = z[:cut].mean(0), state[:cut].mean(0)
    x, y = z[:cut] - mean, state[:cut] - centre
    penalty = RIDGE * x.square().mean() * len(x) + 1e-12
    weight = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
    bias = centre - mean @ weight
    error = (z[cut:] @ weight + bias - state[cut:]).square().mean(0)
    spread = state[cut:].var(0, correction=0)
    r2 = 1 - error / spread
    return StateProbe(weight, bias, float(r2[spread > 0].mean()))


@torch.no_grad()
def open_loop(
    model: WorldModel,
    environment: GoalEnvironment,
    probe: StateProbe,
    policy: Wander,
    seeds: Int64[ndarray, " B"],
    horizons: Sequence[int],
) -> dict[int, float]:
    """Mean distance between the state that is imagined and the true one, after so many steps without looking.

    Episodes that end before the last of them are left out; where all do, nothing is returned.

    Args:
        model: the model; only models that skip no frames are supported.
        environment: where.
        probe: tells the state of a representation.
        policy: what is done meanwhile.
        seeds: one for each episode.
        horizons: after how many steps to compare.

    Raises:
        UserError: the model skips frames.
    """
    if model.actions.repeat > 1:
        raise UserError("open-loop errors are measured for models that skip no frames")
    episodes = whole(record(environment, policy, seeds, max(horizons)), max(horizons))
    if not episodes:
        return {}
    first = torch.from_numpy(np.stack([episode.observations[:1] for episode in episodes]))
    actions = torch.from_numpy(np.stack([episode.actions for episode in episodes]))
    states = np.stack([episode.proprioception for episode in episodes if episode.proprioception is not None])
    begun = model.encode(first, torch.from_numpy(states[:, :1]) if model.states else None)
    imagined = probe(model.rollout(begun, actions[:, None]).states[:, 0]).numpy()  # [B, H, S]
    apart = np.linalg.norm(imagined - states[:, 1:], axis=-1)
    return {horizon: float(apart[:, horizon - 1].mean()) for horizon in horizons}
