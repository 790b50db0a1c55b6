"""A point in a unit square with walls and doors: the smallest world in which going straight to the goal does not work.

It is batched, deterministic in its seeds and needs NumPy alone; `modalities.trajectory.gym` gives one of them gymnasium's API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped, UInt8
from numpy import ndarray

from modalities.trajectory.geometry import CLEARANCE, RADIUS, move, shortest_way
from modalities.trajectory.layouts import check_layout, walls_of
from modalities.trajectory.picture import CHANNELS, draw
from worldjepa.errors import UserError, unknown
from worldjepa.world.environment import Navigable, Task
from worldjepa.world.noise import normal, uniform

View = Literal["pixels", "state"]
Kind = Literal["near", "any", "far"]

START, DOTS, DRIFT, GOAL, WIND = 1, 2, 3, 4, 5
"""Keys of what is drawn at random in a world."""

NEAR = 8.0
"""Tasks of the kind `near` take at most this many steps."""
WIDEST = 0.04
"""The largest radius: points are never put nearer to a wall than this."""
HELD_OUT = 1 << 40
"""Where the seeds of tasks begin: far from those of episodes."""
TRIES = 200
"""Draws for a task before its kind counts as impossible in a layout."""


class RoomsEnv(Navigable):
    """B worlds of rooms.

    An action in [-1, 1]² pushes the point by at most `stride`; longer ones are shortened to a length of 1. Distractors wander
    by themselves, are seen and touch nothing. The state is the point's position (x, y). No single picture shows the wind: what
    comes is open until the point has moved.

    Args:
        layout: see `modalities.trajectory.layouts.walls_of`.
        view: observe `pixels` `[2, size, size]` in uint8, see `modalities.trajectory.picture`, or the `state` `[2]`.
        size: side of the pictures.
        dots: number of distractors.
        stride: length of a step.
        reach: distance at which a goal counts as reached.
        radius: how near the point can come to a wall or the border. Twice that is how far apart it stands on the two sides of
            a wall, which has to be seen in pictures of `size` pixels.
        wind: how far the point is carried along y in every step besides, all the time: up in half of the worlds, down in the
            others.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        layout: str = "two_rooms",
        view: str = "pixels",
        size: int = 32,
        dots: int = 0,
        stride: float = 0.05,
        reach: float = 0.06,
        radius: float = RADIUS,
        wind: float = 0.0,
    ) -> None:
        check_layout(layout)
        if view not in get_args(View):
            raise unknown("view", view, get_args(View))
        if size < 8 or dots < 0:
            raise UserError(f"size must be at least 8 pixels and dots not negative: size={size}, dots={dots}")
        if not 0 < stride <= 0.15 or not 0 < reach < 1:
            raise UserError(f"stride must be in (0, 0.15] and reach in (0, 1): stride={stride}, reach={reach}")
        if not 0 < radius <= WIDEST:
            raise UserError(f"radius must be in (0, {WIDEST}]: radius={radius}")
        if not 0 <= wind < stride:
            raise UserError(f"wind must be at least 0 and below stride={stride}: wind={wind}")
        self.layout, self.view, self.size, self.dots = layout, view, int(size), int(dots)
        self.stride, self.reach, self.radius, self.wind = float(stride), float(reach), float(radius), float(wind)
        self.low, self.high = np.full(2, -1.0), np.full(2, 1.0)
        self.obs_shape = (CHANNELS, self.size, self.size) if view == "pixels" else (2,)
        self._begin(np.zeros(0, np.int64))

    def settings(self, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("layout", "view", "size", "dots", "stride", "reach", "radius", "wind")
        return {name: getattr(self, name) for name in names}

    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin B worlds with their points anywhere and return what is observed."""
        self._begin(seeds)
        return self.imagine(self.position)

    def place(self, state: Float64[ndarray, "B 2"]) -> Shaped[ndarray, "B ..."]:
        """Put the points elsewhere, out of the walls, and return what is observed.

        Raises:
            UserError: a place lies outside the square.
        """
        if not ((state >= 0) & (state <= 1)).all():
            raise UserError("a point lies outside the unit square")
        self.position = free(state, self.walls)
        return self.imagine(self.position)

    def _begin(self, seeds: Int64[ndarray, " B"]) -> None:
        self.seeds, self.time = seeds, 0
        self.walls = walls_of(self.layout, seeds)
        self.position = free(uniform(seeds, START, count=2), self.walls)
        self.carried = np.zeros((len(seeds), 2))
        self.carried[:, 1] = np.where(uniform(seeds, WIND)[:, 0] < 0.5, -self.wind, self.wind)
        self.wandering = uniform(seeds, DOTS, count=2 * self.dots).reshape(len(seeds), self.dots, 2)

    def step(self, actions: Float[ndarray, "B 2"]) -> Shaped[ndarray, "B ..."]:
        """Push every point and return what is observed then."""
        actions = actions.astype(np.float64)
        length = np.linalg.norm(actions, axis=-1, keepdims=True)
        push = self.stride * actions / np.maximum(1.0, length) + self.carried
        self.position = move(self.position, push, self.walls, self.radius)
        self.time += 1
        if self.dots:
            drift = normal(self.seeds, DRIFT, self.time, count=2 * self.dots).reshape(self.wandering.shape)
            # Folded back at the border, so that they stay in the picture.
            self.wandering = 1 - np.abs(1 - (self.wandering + 0.5 * self.stride * drift) % 2)
        return self.imagine(self.position)

    def state(self) -> Float64[ndarray, "B 2"]:
        """The position of every point."""
        return self.position.copy()

    def imagine(self, state: Float64[ndarray, "B 2"]) -> Shaped[ndarray, "B ..."]:
        """What would be observed with the points elsewhere."""
        if self.view == "state":
            return state.astype(np.float32)
        return draw(state, self.walls, self.wandering, self.size)

    def backdrop(self, size: int) -> UInt8[ndarray, "B {size} {size} 3"]:
        """The walls in black on white."""
        still = draw(self.position, self.walls, self.wandering[:, :0], size)[:, 1]
        return np.repeat(255 - still[..., None], 3, -1)

    def solved(self, goal: Float64[ndarray, "B 2"]) -> Bool[ndarray, " B"]:
        """Whether each point is within `reach` of its goal."""
        near: Bool[ndarray, " B"] = np.linalg.norm(self.position - goal, axis=-1) < self.reach
        return near

    def steps_left(self, goal: Float64[ndarray, "B 2"]) -> Float64[ndarray, " B"]:
        """The length of the shortest way, less `reach`, in steps in still air."""
        return np.maximum(0.0, shortest_way(self.walls, self.position, goal).length - self.reach) / self.stride

    def expert(self, goal: Float64[ndarray, "B 2"]) -> Float64[ndarray, "B 2"]:
        """The push along the shortest way, held against the wind."""
        way = shortest_way(self.walls, self.position, goal).first - self.position
        ahead = (way - self.carried) / self.stride
        return ahead / np.maximum(1.0, np.linalg.norm(ahead, axis=-1, keepdims=True))

    def tasks(self, kind: str, count: int, seed: int) -> list[Task]:
        """Draw tasks: `near` takes at most `NEAR` steps, `any` is uniform, `far` leads from the first room to the last.

        Raises:
            UserError: there is no such kind, or this layout has no such task.
        """
        if kind not in get_args(Kind):
            raise unknown("kind of tasks", kind, get_args(Kind))
        found: list[Task] = []
        for draw_number in range(TRIES):
            seeds = HELD_OUT + seed * 1_000_003 + np.arange(count, dtype=np.int64) + draw_number * count
            world = RoomsEnv(self.layout, "state", stride=self.stride, reach=self.reach, radius=self.radius)
            world.reset(seeds)
            goal = free(uniform(seeds, GOAL, count=2), world.walls)
            steps = world.steps_left(goal)
            fits = (steps > 0) & ~world.solved(goal)
            if kind == "near":
                fits &= steps <= NEAR
            elif kind == "far":
                fits &= _farthest(world.walls, world.position, goal)
            found += [
                Task(int(seeds[i]), tuple(world.position[i].tolist()), tuple(goal[i].tolist()))
                for i in np.flatnonzero(fits)
            ]
            if len(found) >= count:
                return found[:count]
        raise UserError(f"layout={self.layout} has no tasks of the kind '{kind}'")


def free(position: Float64[ndarray, "B 2"], walls: Float64[ndarray, "B W 3"]) -> Float64[ndarray, "B 2"]:
    """The positions, with those that stand in a wall pushed out of it and those at the border brought inside."""
    margin = 3 * CLEARANCE
    inside = np.clip(position, margin, 1 - margin)
    for wall in range(walls.shape[1]):
        x = walls[:, wall, 0]
        side = np.where(inside[:, 0] < x, -1.0, 1.0)
        inside[:, 0] = np.where(np.abs(inside[:, 0] - x) < margin, x + side * margin, inside[:, 0])
    return inside


def _farthest(
    walls: Float64[ndarray, "B W 3"], start: Float64[ndarray, "B 2"], goal: Float64[ndarray, "B 2"]
) -> Bool[ndarray, " B"]:
    """Whether start and goal are in the first and the last room, in either order."""
    if not walls.shape[1]:
        return np.zeros(len(start), bool)
    first, last = walls[:, 0, 0], walls[:, -1, 0]
    forth = (start[:, 0] < first) & (goal[:, 0] > last)
    back = (goal[:, 0] < first) & (start[:, 0] > last)
    return forth | back
