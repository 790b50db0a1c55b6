"""Scenes of which something is known: from labelled splits, or from an environment that tells its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.imagine.judge import Factor
from worldjepa.imagine.rollouts import Rollouts
from worldjepa.imagine.subject import Scenes, Subject
from worldjepa.imagine.teaching import AT_A_TIME, gather
from worldjepa.types import Tokens
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import GoalEnvironment
from worldjepa.world.record import record, whole


class Known(NamedTuple):
    """Scenes and what is known of them."""

    scenes: Scenes
    factors: dict[str, Factor]

    def pick(self, rows: torch.Tensor) -> Known:
        """Some of them."""
        some = {name: Factor(factor.values[rows], factor.classes) for name, factor in self.factors.items()}
        return Known(self.scenes.pick(rows), some)


def labelled(
    subject: Subject, observations: Observations, indices: list[int], seed: int, device: torch.device
) -> Known:
    """Scenes of labelled observations; those without a label are left out.

    Raises:
        UserError: nothing can be read.
    """
    scenes, kept = gather(subject, observations, indices, seed, device)
    factors = {
        name: Factor(torch.from_numpy(labels.index[kept]).long(), len(labels.names))
        for name, labels in observations.factors.items()
    }
    there = torch.stack([factor.values >= 0 for factor in factors.values()]).all(0)
    return Known(scenes, factors).pick(there.nonzero()[:, 0])


def wandered(
    subject: Rollouts, environment: GoalEnvironment, seeds: Int64[ndarray, " B"], seed: int, device: torch.device
) -> Known:
    """Scenes of episodes that are recorded now; what is known is the state.

    Raises:
        UserError: the model skips frames, or no episode is long enough.
    """
    if subject.repeat > 1:
        raise UserError("what is imagined is measured for models that skip no frames")
    steps = subject.frames - 1
    episodes = whole(record(environment, Wander(), seeds, steps), steps)
    told = [episode.proprioception for episode in episodes if episode.proprioception is not None]
    if not told:
        raise UserError(f"no episode lasts the {steps} steps of a window")
    obs = torch.from_numpy(np.stack([episode.observations for episode in episodes]))
    states = torch.from_numpy(np.stack(told)).float()  # [B, T, S]
    acts = torch.from_numpy(np.stack([episode.actions for episode in episodes])).float()
    acting = torch.cat([acts, states[:, :-1]], -1) if subject.world.states else acts
    rng, parts = torch.Generator().manual_seed(seed), []
    for start in range(0, len(obs), AT_A_TIME):
        some = slice(start, start + AT_A_TIME)
        pos = torch.zeros(len(obs[some]), steps, 3)
        pos[..., 0] = torch.arange(steps)
        cond = Tokens(acting[some].to(device), pos.to(device))
        parts.append(subject.scenes(obs[some].to(device), cond, rng))
    scenes = Scenes(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))
    rows = torch.arange(len(obs))
    return Known(scenes, {"state": Factor(states[rows, subject.frame(scenes.where)], 0)})


def spread_over(count: int, most: int) -> list[int]:
    """At most so many indices, evenly spread."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, most)).round()]


def cycled(count: int, wanted: int) -> Sequence[int]:
    """So many indices, evenly spread, or all of them again and again."""
    return spread_over(count, wanted) if wanted <= count else [index % count for index in range(wanted)]
