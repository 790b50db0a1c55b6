"""Any environment of gymnasium with box-shaped observations and actions, several side by side, to record episodes in."""

from __future__ import annotations

import importlib
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray

from worldjepa.errors import UserError
from worldjepa.world.environment import Environment


@final
class GymEnvironment(Environment):
    """Environments of gymnasium by their registered name, such as `Pendulum-v1`; `module:NAME` imports the module first.

    Pictures with the channels last are turned to channels first. Worlds that have ended stand still.

    Args:
        name: the registered name.

    Raises:
        UserError: gymnasium is not installed, knows no such name, or the spaces are no boxes.
    """

    def __init__(self, name: str) -> None:
        try:
            self.gym: Any = importlib.import_module("gymnasium")
        except ImportError as error:
            raise UserError("gymnasium is not installed: pip install worldjepa[gymnasium]") from error
        self.name = name
        probe = self._make()
        boxes = self.gym.spaces.Box
        for what, space in (("observations", probe.observation_space), ("actions", probe.action_space)):
            if not isinstance(space, boxes):
                raise UserError(f"the {what} of {name} are a {type(space).__name__}; only boxes can be recorded")
        if not np.isfinite([probe.action_space.low, probe.action_space.high]).all() or probe.action_space.low.ndim != 1:
            raise UserError(f"the actions of {name} are not a vector within bounds")
        self.low = probe.action_space.low.astype(np.float64)
        self.high = probe.action_space.high.astype(np.float64)
        probe.close()
        self.worlds: list[Any] = []

    def _make(self) -> Any:
        try:
            return self.gym.make(self.name)
        except (self.gym.error.Error, ImportError) as error:
            raise UserError(f"gymnasium cannot make '{self.name}': {error}") from error

    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin a world for each seed."""
        while len(self.worlds) < len(seeds):
            self.worlds.append(self._make())
        self._over = np.zeros(len(seeds), bool)
        first = [world.reset(seed=int(seed) % (1 << 31))[0] for world, seed in zip(self.worlds, seeds, strict=False)]
        self._seen = [_channels_first(np.asarray(one)) for one in first]
        return np.stack(self._seen)

    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act in every world that has not ended."""
        for index in np.flatnonzero(~self._over):
            obs, _, ended, cut, _ = self.worlds[index].step(actions[index].astype(np.float32))
            self._seen[index] = _channels_first(np.asarray(obs))
            self._over[index] = ended or cut
        return np.stack(self._seen)

    def ended(self) -> Bool[ndarray, " B"]:
        """Which worlds have ended or were broken off."""
        return self._over.copy()


def _channels_first(obs: Shaped[ndarray, ...]) -> Shaped[ndarray, ...]:
    picture = obs.dtype == np.uint8 and obs.ndim == 3 and obs.shape[-1] in (1, 3, 4)
    return np.moveaxis(obs, -1, 0) if picture else obs
