"""A small environment for gymnasium: a ball in a square, seen through a dictionary, which can be put anywhere."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldjepa.world.known import Known

NAME = "worldjepa_test/Ball-v0"
SIDE = 24


class Ball(gymnasium.Env[Any, Any]):
    """An action pushes the ball by a tenth; `end` is where an episode is over."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode: str | None = None, usual: bool = True, end: int = 1000) -> None:
        self.render_mode, self.end = render_mode, end
        names = ("observation" if usual else "position", "sum")
        self.names = names
        self.observation_space = spaces.Dict(
            {name: spaces.Box(0.0, 2.0, (2 - i,), np.float64) for i, name in enumerate(names)}
        )

    def look(self) -> dict[str, Any]:
        both = self.place.copy()
        return {self.names[0]: both, self.names[1]: both.sum(keepdims=True)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.taken = self.np_random.uniform(size=2), 0
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = np.clip(self.place + 0.1 * np.asarray(action, np.float64), 0, 1)
        self.taken += 1
        return self.look(), 0.0, self.taken >= self.end, False, {}

    def render(self) -> Any:
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        x, y = (self.place * (SIDE - 5)).astype(int)
        picture[y : y + 5, x : x + 5] = 255
        return picture


class BallKnown(Known):
    """Reached within a fifth."""

    def state(self, world: Any) -> Any:
        return world.place.copy()

    def place(self, world: Any, state: Any) -> Any:
        world.place = np.array(state, np.float64)
        return world.look()

    def solved(self, state: Any, goal: Any) -> Any:
        return np.linalg.norm(state - goal, axis=-1) < 0.2


def register(name: str = NAME, **settings: Any) -> str:
    if name not in gymnasium.registry:
        gymnasium.register(name, Ball, kwargs=settings)
    return name
