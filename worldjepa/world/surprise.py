"""Whether a model is surprised by what cannot have happened: its energy of true futures against that of false ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import Navigable
from worldjepa.world.model import WorldModel
from worldjepa.world.record import record

CHUNK = 256


class Surprise(NamedTuple):
    """Areas under the ROC curve: how often a false future has the higher energy, of a true and a false one."""

    exchanged: float
    """Against futures of other episodes."""
    teleported: float
    """Against futures in which halfway the body is suddenly elsewhere in its world."""


def auroc(genuine: Float[Tensor, " N"], false: Float[Tensor, " M"]) -> float:
    """The share of pairs in which the false one is higher; ties count half.

    Source: Mann and Whitney (1947).
    """
    ordered = genuine.sort().values
    below, up_to = torch.searchsorted(ordered, false), torch.searchsorted(ordered, false, right=True)
    return float((below + up_to).double().mean() / (2 * len(ordered)))


@torch.no_grad()
def surprise(
    model: WorldModel, environment: Navigable, policy: Wander, seeds: Int64[ndarray, " B"], ahead: int = 8
) -> Surprise:
    """Record episodes, and compare the energies of their futures with those of false ones, all with the actions of the true.

    Args:
        model: the model; it sees as many frames as it looks back at.
        environment: where to record.
        policy: what to do there.
        seeds: one for each episode.
        ahead: frames of the model in a future.

    Raises:
        UserError: there are fewer than two episodes, or no future.
    """
    if len(seeds) < 2 or ahead < 1:
        raise UserError(
            f"surprise is measured on 2 episodes or more with futures of 1 frame or more: {len(seeds)}, {ahead}"
        )
    seen, repeat = model.history, model.actions.repeat
    episodes = record(environment, policy, seeds, (seen + ahead - 1) * repeat)
    obs = np.stack([episode.observations[::repeat] for episode in episodes])  # [B, T+H, ...]
    acts = np.stack([episode.actions for episode in episodes]).reshape(len(seeds), seen + ahead - 1, -1)
    bodies = [episode.proprioception[::repeat] for episode in episodes if episode.proprioception is not None]
    body = np.stack(bodies)  # [B, T+H, S]
    other = np.roll(body, 1, 0).astype(np.float64)
    x, future = obs[:, :seen], obs[:, seen:]
    environment.reset(seeds)  # the worlds of all episodes side by side
    jump = [environment.imagine(other[:, time]) for time in range(seen + ahead // 2, seen + ahead)]
    teleported = np.concatenate([future[:, : ahead // 2], np.stack(jump, 1)], 1)
    known = (x, acts, body[:, :seen])
    true = _energies(model, future, *known)
    return Surprise(
        auroc(true, _energies(model, np.roll(future, 1, 0), *known)),
        auroc(true, _energies(model, teleported, *known)),
    )


def _energies(
    model: WorldModel,
    y: Shaped[ndarray, "B H ..."],
    x: Shaped[ndarray, "B T ..."],
    acts: Float[ndarray, "B A W"],
    body: Float[ndarray, "B T S"],
) -> Float[Tensor, " B"]:
    parts = []
    for start in range(0, len(x), CHUNK):
        seen, came, done, states = (torch.from_numpy(part[start : start + CHUNK]) for part in (x, y, acts, body))
        parts.append(model.energy(seen, came, done, states if model.states else None))
    return torch.cat(parts)
