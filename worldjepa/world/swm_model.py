"""Our world models where stable-worldmodel expects one of its own: its solvers search with our model and our cost.

Nothing of it is imported; what it asks for are methods on dictionaries, whose arrays begin with environments and candidates.

Source: the protocols `Dynamics` and `Costable` of galilai-group/stable-worldmodel, and what its models return.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.world.costs import Cost
from worldjepa.world.model import Rollout, WorldModel

GOAL, PAST = "goal", "action_history"
"""Keys of the picture of the goal, and of the actions between the frames that were seen."""


@final
class SWMModel(nn.Module):
    """A `WorldModel` with a cost, as stable-worldmodel's solvers take it (`Dynamics` and `Costable`).

    `info[key]` holds the frames that were seen, `[B, S, T, ...]` and equal for all S candidates, pictures with the channels
    first or last; `info["action_history"]` the T - 1 actions between them, `info["goal"]` (or `goal_KEY`) a frame of the goal.
    Candidates are what happens from the last frame on. The tokens of a frame lie one after another in what is returned.

    Args:
        model: the world model.
        cost: judges candidates.
        key: what is observed.
        scaled: actions are in units of their standard deviation around their mean, as solvers draw them; see `scaler`.

    Raises:
        UserError: nobody acts in the model's world.
    """

    def __init__(self, model: WorldModel, cost: Cost, key: str = "pixels", scaled: bool = False) -> None:
        super().__init__()
        self.model, self.cost, self.key, self.scaled = model, cost, key, scaled
        self.spec = model.actions
        self.goal_key = GOAL if key == "pixels" else f"{GOAL}_{key}"

    def scaler(self) -> Scaler:
        """What turns actions into units of their deviation and back, for `process={"action": ...}` of a policy."""
        return Scaler(self.spec)

    def encode(self, info: dict[str, Any]) -> dict[str, Any]:
        """Add `emb [B, T, D]` of the frames `info[key] [B, T, ...]`.

        Raises:
            UserError: there are none.
        """
        info["emb"] = self.model.encode(self._frames(info, self.key)).x.flatten(2)
        return info

    def rollout(self, info: dict[str, Any], actions: Float[Tensor, "B S H W"]) -> dict[str, Any]:
        """Add `emb [B, S, T, D]` and `predicted_emb [B, S, T + H, D]`, which begins with the frames that were seen.

        Raises:
            UserError: there are no frames, or the actions between them are missing.
        """
        history = self.model.encode(self._frames(info, self.key)[:, 0])
        imagined = self.model.rollout(history, self._raw(actions), self._past(info, history.x.shape[1]))
        seen = history.x.flatten(2)[:, None].expand(-1, actions.shape[1], -1, -1)  # [B, S, T, D]
        info["emb"] = seen
        info["predicted_emb"] = torch.cat([seen, imagined.states.flatten(3)], 2)
        info["predicted_spread"] = imagined.spread
        return info

    def criterion(self, info: dict[str, Any], actions: Float[Tensor, "B S H W"]) -> Float[Tensor, "B S"]:
        """The cost of candidates that `rollout` imagined, where `goal_emb [B, 1, D]` is known."""
        h = actions.shape[2]
        states = info["predicted_emb"][:, :, -h:].unflatten(3, (-1, self.model.encoder.dim))  # [B, S, H, n, D]
        goal = info["goal_emb"][:, -1].unflatten(1, (-1, self.model.encoder.dim))  # [B, n, D]
        judged: Tensor = self.cost(Rollout(states, self._raw(actions), info["predicted_spread"], 0), goal)
        return judged

    def get_cost(self, info: dict[str, Any], actions: Float[Tensor, "B S H W"]) -> Float[Tensor, "B S"]:
        """Encode the goal, imagine the candidates, and judge them.

        Raises:
            UserError: there are no frames, no goal, or no actions between the frames.
        """
        info["goal_emb"] = self.model.encode(self._frames(info, self.goal_key)[:, 0]).x.flatten(2)
        return self.criterion(self.rollout(info, actions), actions)

    def _past(self, info: dict[str, Any], frames: int) -> Float[Tensor, "B P W"] | None:
        if frames == 1:
            return None
        past = info.get(PAST)
        if past is None or past.shape[2] != frames - 1:
            found = "none" if past is None else past.shape[2]
            raise UserError(
                f"{frames} frames need the {frames - 1} actions between them as info['{PAST}'], not {found}"
            )
        return self._raw(past[:, 0])

    def _raw(self, actions: Float[Tensor, "*b W"]) -> Float[Tensor, "*b W"]:
        """Actions as they were in training, on the model's device."""
        there = actions.to(self.spec.mean)
        if not self.scaled:
            return there
        self.spec.check(there)
        return self.spec.mean.repeat(self.spec.repeat) + self.spec.std.repeat(self.spec.repeat) * there

    def _frames(self, info: dict[str, Any], key: str) -> Shaped[Tensor, "B ..."]:
        if key not in info:
            raise UserError(f"info has no '{key}'; it has {', '.join(sorted(info)) or 'nothing'}")
        frames: Tensor = info[key].to(self.spec.mean.device)
        last = frames.ndim >= 5 and frames.shape[-1] in (1, 3, 4) and frames.shape[-3] not in (1, 3, 4)
        return frames.movedim(-1, -3) if last else frames


@final
class Scaler:
    """Actions in units of their standard deviation and back, in arrays whose last axis is one action.

    Args:
        spec: what actions the model was trained with.
    """

    def __init__(self, spec: ActionSpec) -> None:
        self.mean: Float[ndarray, " A"] = spec.mean.cpu().numpy().copy()
        self.std: Float[ndarray, " A"] = spec.std.cpu().numpy().copy()

    def transform(self, x: Float[ndarray, "*b A"]) -> Float[ndarray, "*b A"]:
        """Into units of the deviation."""
        units: Float[ndarray, "*b A"] = (x - self.mean) / self.std
        return units

    def inverse_transform(self, x: Float[ndarray, "*b A"]) -> Float[ndarray, "*b A"]:
        """And back."""
        actions: Float[ndarray, "*b A"] = x * self.std + self.mean
        return actions
