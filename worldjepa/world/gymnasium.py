"""Any environment of gymnasium with box-shaped actions, several side by side, to record episodes in."""

from __future__ import annotations

import atexit
import importlib
import weakref
from typing import Any, Literal, final, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from numpy import ndarray
from PIL import Image

from worldjepa.errors import UserError, unknown
from worldjepa.world.environment import Environment
from worldjepa.world.known import Known, known_of
from worldjepa.world.noise import short_seeds

View = Literal["observations", "pixels"]
USUAL_KEY = "observation"


@final
class GymEnvironment(Environment):
    """Environments of gymnasium by their registered name, such as `Pendulum-v1`; `module:NAME` imports the module first.

    Pictures with the channels last are turned to channels first. Worlds that have ended stand still.

    Args:
        name: the registered name.
        view: observe what the environment gives, `observations`, or the `pixels` that it draws.
        key: which of several observations, where they are a dictionary; by default `observation` if there is one.
        size: side that drawn pictures are brought to.
        known: what is known about its state; by default that of `worldjepa.world.known`, if any.

    Raises:
        UserError: gymnasium is not installed, knows no such name, the spaces are no boxes, or there is no such key.
    """

    def __init__(
        self, name: str, view: str = "observations", key: str | None = None, size: int = 64, known: Known | None = None
    ) -> None:
        if view not in get_args(View):
            raise unknown("view", view, get_args(View))
        if size < 8:
            raise UserError(f"size must be at least 8 pixels, not {size}")
        try:
            self.gym: Any = importlib.import_module("gymnasium")
        except ImportError as error:
            raise UserError("gymnasium is not installed: pip install worldjepa[gymnasium]") from error
        self.name, self.view, self.size = name, view, int(size)
        self.known = known or known_of(name)
        probe = self._make(view)
        self.key = self._chosen_key(probe.observation_space, key) if view == "observations" else None
        space = probe.action_space
        self._check_box("actions", space)
        if not np.isfinite([space.low, space.high]).all() or space.low.ndim != 1:
            raise UserError(f"the actions of {name} are not a vector within bounds")
        self.low, self.high = space.low.astype(np.float64), space.high.astype(np.float64)
        probe.close()
        self.worlds: list[Any] = []
        self.painters: list[Any] = []
        """The world that draws for all of them, where one does."""
        self._closing = weakref.finalize(self, _close, self.worlds, self.painters)

    def _make(self, view: str) -> Any:
        drawing = {"render_mode": "rgb_array"} if view == "pixels" else {}
        settings = drawing if self.known is None else self.known.settings(view, self.size)
        try:
            made = self.gym.make(self.name, disable_env_checker=True, **settings)
        except (self.gym.error.Error, ImportError, TypeError) as error:
            raise UserError(f"gymnasium cannot make '{self.name}': {error}") from error
        return made if self.known is None else self.known.prepared(made, view)

    def _chosen_key(self, space: Any, key: str | None) -> str | None:
        if not isinstance(space, self.gym.spaces.Dict):
            if key is not None:
                raise UserError(f"key={key}: {self.name} has one kind of observations only")
            self._check_box("observations", space)
            return None
        keys = list(space.spaces)
        if key is None and USUAL_KEY not in keys:
            raise UserError(
                f"{self.name} has several observations: choose one with env.key=, or env.view=pixels; {', '.join(keys)}"
            )
        chosen = key or USUAL_KEY
        if chosen not in keys:
            raise unknown("key", chosen, keys)
        self._check_box(f"observations '{chosen}'", space.spaces[chosen])
        return chosen

    def _check_box(self, what: str, space: Any) -> None:
        if not isinstance(space, self.gym.spaces.Box):
            raise UserError(f"the {what} of {self.name} are a {type(space).__name__}; only boxes can be recorded")

    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin a world for each seed."""
        own = "observations" if self.known is not None and self.known.one_painter else self.view
        new = len(self.worlds) < len(seeds)
        while len(self.worlds) < len(seeds):
            self.worlds.append(self._make(own))
        self._over = np.zeros(len(seeds), bool)
        short = short_seeds(seeds)
        first = [world.reset(seed=int(seed))[0] for world, seed in zip(self.worlds, short, strict=False)]
        self._seen = [self._look(world, obs) for world, obs in zip(self.worlds, first, strict=False)]
        if new:
            # Now that all has been drawn once: what is registered last is done first when Python ends, and what draws must be
            # closed before its library is.
            atexit.register(self._closing)
        return np.stack(self._seen)

    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act in every world that has not ended."""
        for index in np.flatnonzero(~self._over):
            obs, _, ended, cut, _ = self.worlds[index].step(actions[index].astype(np.float32))
            self._seen[index] = self._look(self.worlds[index], obs)
            self._over[index] = ended or cut
        return np.stack(self._seen)

    def ended(self) -> Bool[ndarray, " B"]:
        """Which worlds have ended or were broken off."""
        return self._over.copy()

    def state(self) -> Float64[ndarray, "B S"] | None:
        """The state of every world, where it is known."""
        if self.known is None:
            return None
        return np.stack([self.known.state(world.unwrapped) for world in self.worlds[: len(self._over)]])

    def place(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """Put the worlds into other states and return what is observed.

        Raises:
            UserError: nothing is known about their state.
        """
        if self.known is None:
            raise UserError(f"nothing is known about the state of {self.name}")
        for index, world in enumerate(self.worlds[: len(state)]):
            self._seen[index] = self._look(world, self.known.place(world.unwrapped, state[index]))
        return np.stack(self._seen)

    def _look(self, world: Any, obs: Any) -> Shaped[ndarray, ...]:
        if self.view == "observations":
            seen = np.asarray(obs if self.key is None else obs[self.key])
            # Models compute in single precision, and what they are shown when they act is what they were trained on.
            return _channels_first(seen if seen.dtype == np.uint8 else seen.astype(np.float32))
        picture = np.asarray(self._drawn(world, obs))
        if picture.dtype != np.uint8 or picture.ndim != 3:
            raise UserError(f"{self.name} draws no pictures")
        if picture.shape[:2] != (self.size, self.size):
            picture = np.asarray(Image.fromarray(picture).resize((self.size, self.size), Image.Resampling.BOX))
        return _channels_first(picture)

    def _drawn(self, world: Any, obs: Any) -> Any:
        if self.known is None:
            return world.render()
        if not self.known.one_painter:
            return self.known.picture(world.unwrapped, obs)
        if not self.painters:
            self.painters.append(self._make(self.view))
            self.painters[0].reset(seed=0)
        painter = self.painters[0].unwrapped
        return self.known.picture(painter, self.known.place(painter, self.known.state(world.unwrapped)))


def _close(*several: list[Any]) -> None:
    for worlds in several:
        for world in worlds:
            world.close()


def _channels_first(obs: Shaped[ndarray, ...]) -> Shaped[ndarray, ...]:
    picture = obs.dtype == np.uint8 and obs.ndim == 3 and obs.shape[-1] in (1, 3, 4)
    return np.ascontiguousarray(np.moveaxis(obs, -1, 0)) if picture else obs
