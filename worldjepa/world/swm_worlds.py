"""stable-worldmodel's worlds as environments to record episodes in. Nothing of it is imported.

Source: `World` and its `EnvPool` of galilai-group/stable-worldmodel: arrays of `infos` begin with environment and time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray

from worldjepa.errors import UserError, unknown
from worldjepa.world.environment import Environment
from worldjepa.world.noise import short_seeds


@final
class SWMWorlds(Environment):
    """Worlds made by `World(env_name, num_envs=B, ...)` of stable-worldmodel.

    Pictures are turned to channels first. Worlds that have ended stand still.

    Args:
        make: makes a world of so many environments, such as `lambda n: swm.World("swm/PushT-v1", n, image_shape=(64, 64))`.
        key: what is observed.
        state_key: what the environments tell of their state besides.

    Raises:
        UserError: the actions are not a vector within bounds.
    """

    def __init__(self, make: Callable[[int], Any], key: str = "pixels", state_key: str | None = None) -> None:
        self.make, self.key, self.state_key = make, key, state_key
        self.world = make(1)
        space = self.world.envs.single_action_space
        try:
            low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
        except AttributeError as error:
            raise UserError(f"the actions are a {type(space).__name__}; only boxes can be recorded") from error
        if low.ndim != 1 or not np.isfinite([low, high]).all():
            raise UserError("the actions are not a vector within bounds")
        self.low, self.high = low, high
        self.infos: dict[str, Any] = {}

    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin a world for each seed; worlds that there are beyond these repeat the last and are then left alone."""
        if self.world.envs.num_envs < len(seeds):
            self.world.close()
            self.world = self.make(len(seeds))
        spare = self.world.envs.num_envs - len(seeds)
        short: list[int] = short_seeds(seeds).tolist()
        _, self.infos = self.world.envs.reset(seed=short + short[-1:] * spare)
        self._over = np.zeros(len(seeds), bool)
        return self._seen()

    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act in every world that has not ended."""
        pool = self.world.envs
        every = np.zeros((pool.num_envs, actions.shape[1]), np.float32)
        every[: len(actions)] = actions
        going = np.zeros(pool.num_envs, bool)
        going[: len(actions)] = ~self._over
        _, _, terminated, truncated, self.infos = pool.step(every, mask=going)
        self._over |= (np.asarray(terminated) | np.asarray(truncated))[: len(actions)]
        return self._seen()

    def ended(self) -> Bool[ndarray, " B"]:
        """Which worlds have ended or were broken off."""
        return self._over.copy()

    def state(self) -> Float[ndarray, "B S"] | None:
        """What `state_key` tells, if that was given."""
        return None if self.state_key is None else self._told(self.state_key).reshape(len(self._over), -1)

    def _seen(self) -> Shaped[ndarray, "B ..."]:
        seen = self._told(self.key)
        picture = seen.dtype == np.uint8 and seen.ndim == 4 and seen.shape[-1] in (1, 3, 4)
        return np.ascontiguousarray(np.moveaxis(seen, -1, 1)) if picture else seen

    def _told(self, key: str) -> Shaped[ndarray, "B ..."]:
        if key not in self.infos:
            raise unknown("key", key, self.infos)
        told = np.array(self.infos[key])[: len(self._over), 0]  # a copy: the pool writes the next step over it
        return told if told.dtype == np.uint8 else told.astype(np.float32)
