"""One world of rooms with gymnasium's API. Needs `pip install worldjepa[gymnasium]`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from modalities.trajectory.rooms import RoomsEnv

TASKS = 1 << 31


class RoomsGym(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """A `RoomsEnv` with one world, whose goal is drawn with it.

    The reward is -1 for every step that does not end at the goal; there the episode ends. `info` holds `position`, `goal`, and
    `steps_left` by the shortest way.

    Args:
        kind: the kind of tasks, see `RoomsEnv.tasks`.
        budget: steps after which an episode is broken off.
        **settings: of `RoomsEnv`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it
    render_mode = "rgb_array"

    def __init__(self, kind: str = "any", budget: int = 150, **settings: Any) -> None:
        self.env = RoomsEnv(**settings)
        self.kind, self.budget = kind, budget
        self.action_space = spaces.Box(self.env.low.astype(np.float32), self.env.high.astype(np.float32))
        if self.env.view == "pixels":
            self.observation_space = spaces.Box(0, 255, self.env.obs_shape, np.uint8)
        else:
            self.observation_space = spaces.Box(0.0, 1.0, self.env.obs_shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin a task; a function of the seed."""
        super().reset(seed=seed)
        (task,) = self.env.tasks(self.kind, 1, int(self.np_random.integers(TASKS)))
        self.goal = np.array([task.goal])
        self.taken = 0
        return self.env.begin([task])[0], self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Push the point once."""
        obs = self.env.step(np.asarray(action, np.float64)[None])
        self.taken += 1
        solved = bool(self.env.solved(self.goal)[0])
        return obs[0], 0.0 if solved else -1.0, solved, self.taken >= self.budget, self._info()

    def render(self) -> NDArray[np.uint8]:
        """The picture, the point in red and walls and distractors in grey."""
        world = RoomsEnv(self.env.layout, "pixels", max(64, self.env.size), self.env.dots)
        world.walls, world.wandering = self.env.walls, self.env.wandering
        point, still = world.imagine(self.env.position)[0]
        return np.stack([np.maximum(point, still), still, still], -1)

    def _info(self) -> dict[str, Any]:
        left = float(self.env.steps_left(self.goal)[0])
        return {"position": self.env.position[0].copy(), "goal": self.goal[0].copy(), "steps_left": left}
