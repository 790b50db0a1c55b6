"""What must be known about an environment of gymnasium to plan in it: its state, and when goals are reached."""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from numpy import ndarray

from worldjepa.errors import UserError


class Known(ABC):
    """Knows the inside of one kind of environment. The worlds that it is given are `env.unwrapped`."""

    module: str = ""
    """Importing it registers the environment."""
    extra: str = ""
    """The extra of worldjepa that installs it."""
    ahead: Mapping[str, int] = MappingProxyType({"near": 10, "any": 25, "far": 50})
    """How many random steps lead from start to goal, for each kind of tasks."""

    one_painter: bool = False
    """A picture follows from the state alone, and drawing takes long to set up: one world draws for all of them."""

    @abstractmethod
    def state(self, world: Any) -> Float64[ndarray, " S"]:
        """The state that goals are given in."""

    @abstractmethod
    def place(self, world: Any, state: Float[ndarray, " S"]) -> Any:
        """Put the world into a state, at rest as far as the state does not say otherwise; returns what it would observe."""

    @abstractmethod
    def solved(self, state: Float[ndarray, "B S"], goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Whether states count as being at their goals."""

    def settings(self, view: str, size: int) -> dict[str, Any]:
        """What `gymnasium.make` is told."""
        return {"render_mode": "rgb_array"} if view == "pixels" else {}

    def prepared(self, env: Any, view: str) -> Any:
        """The environment, with its wrappers, as it is to be used.

        Raises:
            UserError: it cannot be used here.
        """
        return env

    def picture(self, world: Any, obs: Any) -> Shaped[ndarray, "H W 3"]:
        """The picture of the world as it is now, with what it observes."""
        return world.render()  # type: ignore[no-any-return]


@final
class PushT(Known):
    """`gym_pusht/PushT-v0`: a round agent pushes a block in the shape of a T; lengths are pixels of 512.

    The state is the agent's position, the block's position and its angle in [0, 2π). Goals are reached when both positions
    together are less than 20 away and the angle less than π/9.

    Source: the tolerance is that of DINO-WM (arXiv 2411.04983) and stable-worldmodel.
    """

    module, extra = "gym_pusht", "pusht"

    def settings(self, view: str, size: int) -> dict[str, Any]:
        """Its own pictures: what it renders otherwise shows the last action as well."""
        if view == "pixels":
            return {"obs_type": "pixels", "observation_width": size, "observation_height": size}
        return {"obs_type": "state"}

    def picture(self, world: Any, obs: Any) -> Shaped[ndarray, "H W 3"]:
        """What it observes."""
        return obs  # type: ignore[no-any-return]

    def state(self, world: Any) -> Float64[ndarray, " S"]:
        """Positions and angle."""
        angle = world.block.angle % (2 * np.pi)
        return np.array([*world.agent.position, *world.block.position, angle], np.float64)

    def place(self, world: Any, state: Float[ndarray, " S"]) -> Any:
        """Agent and block where the state says, and at rest."""
        numbers = [float(number) for number in state]
        world.agent.position, world.agent.velocity = (numbers[0], numbers[1]), (0.0, 0.0)
        # The angle first: turning is about the centre of gravity and moves the position, which the reset of the environment
        # itself lets happen.
        world.block.angle = numbers[4]
        world.block.position, world.block.velocity = (numbers[2], numbers[3]), (0.0, 0.0)
        world.block.angular_velocity = 0.0
        for body in (world.agent, world.block):
            world.space.reindex_shapes_for_body(body)
        return world.get_obs()

    def solved(self, state: Float[ndarray, "B S"], goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Positions within 20 pixels, angle within 20 degrees."""
        far = np.linalg.norm(state[:, :4] - goal[:, :4], axis=-1)
        turned = np.abs(state[:, 4] - goal[:, 4]) % (2 * np.pi)
        there: Bool[ndarray, " B"] = (far < 20) & (np.minimum(turned, 2 * np.pi - turned) < np.pi / 9)
        return there


@final
class PointMaze(Known):
    """`PointMaze_...-v3` of gymnasium-robotics: a ball that is pushed through a maze.

    The state is its position and its speed. Goals are reached within 0.45 of their position, as the environment has it. The
    environment's own goal is not drawn: it is not where the plans are to lead.
    """

    module, extra, one_painter = "gymnasium_robotics", "maze", True
    ahead = MappingProxyType({"near": 50, "any": 100, "far": 200})
    """A step is a hundredth of a second: in 25 of them few balls get as far as the tolerance."""

    def settings(self, view: str, size: int) -> dict[str, Any]:
        """Pictures of the size that is wanted, so that none has to be drawn larger."""
        return {"render_mode": "rgb_array", "width": size, "height": size} if view == "pixels" else {}

    def prepared(self, env: Any, view: str) -> Any:
        """With its own goal hidden.

        Raises:
            UserError: pictures are wanted where MuJoCo has neither a display nor another way to draw.
        """
        world = env.unwrapped
        world.model.site_rgba[world.target_site_id, 3] = 0
        drawn = os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if view == "pixels" and sys.platform == "linux" and not drawn:
            raise UserError(
                "without a display MuJoCo draws only where the environment variable MUJOCO_GL is egl or osmesa"
            )
        return env

    def state(self, world: Any) -> Float64[ndarray, " S"]:
        """Position and speed."""
        data = world.point_env.data
        return np.concatenate([data.qpos[:2], data.qvel[:2]]).astype(np.float64)

    def place(self, world: Any, state: Float[ndarray, " S"]) -> Any:
        """The ball where the state says, and as fast."""
        numbers = np.asarray(state, np.float64)
        world.point_env.set_state(numbers[:2], numbers[2:])
        return {
            "observation": numbers.copy(),
            "achieved_goal": numbers[:2].copy(),
            "desired_goal": np.array(world.goal, np.float64),
        }

    def solved(self, state: Float[ndarray, "B S"], goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Positions within 0.45."""
        there: Bool[ndarray, " B"] = np.linalg.norm(state[:, :2] - goal[:, :2], axis=-1) <= 0.45
        return there


KNOWN: dict[str, Known] = {"gym_pusht/PushT": PushT(), "PointMaze_": PointMaze()}
"""By how the registered name begins."""


def known_of(name: str) -> Known | None:
    """What is known about an environment. Its package is imported, which registers it.

    Raises:
        UserError: the package is not installed.
    """
    bare = name.rpartition(":")[2]
    for begins, known in KNOWN.items():
        if bare.startswith(begins):
            try:
                importlib.import_module(known.module)
            except ImportError as error:
                raise UserError(
                    f"{bare} needs {known.module}: pip install worldjepa[{known.extra}] ({error})"
                ) from error
            return known
    return None
