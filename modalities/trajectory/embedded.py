"""Episodes from worlds of rooms, simulated when a run begins; pictures are drawn when they are asked for."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from modalities.trajectory.episodes import Episodes
from modalities.trajectory.geometry import RADIUS
from modalities.trajectory.picture import CHANNELS, draw
from modalities.trajectory.rooms import RoomsEnv
from modalities.trajectory.sizes import Cut, Sizes
from modalities.trajectory.windows import Windows
from worldjepa.data import DataSource, Labels, Observations, ProbeSplits
from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander, checked_wander
from worldjepa.world.environment import Simulated
from worldjepa.world.noise import uniform
from worldjepa.world.record import seeds_of

PROBE_SIZES = {"train": 1_200, "val": 300, "test": 600}
"""Places in each split for probes."""
CELLS = 6
"""Columns and rows that probes tell apart."""
PLACE = 21
"""Key of the places that are drawn for probes."""


class Walks(Episodes):
    """Random walks in worlds of rooms, kept as positions.

    Args:
        env: the environment.
        policy: how the points wander.
        seeds: one for each episode.
        steps: actions in each.
    """

    def __init__(self, env: RoomsEnv, policy: Wander, seeds: Int64[ndarray, " E"], steps: int) -> None:
        state = RoomsEnv(**{**env.settings({}), "view": "state"})
        state.reset(seeds)
        self.view, self.size, self.walls = env.view, env.size, state.walls
        self.actions = policy.actions(seeds, steps, env.low, env.high).astype(np.float32)
        path, dots = [state.position], [state.wandering]
        for step in range(steps):
            state.step(self.actions[:, step])
            path.append(state.position)
            dots.append(state.wandering)
        self.path: Float32[ndarray, "E T 2"] = np.stack(path, 1).astype(np.float32)
        self.dots: Float32[ndarray, "E T K 2"] = np.stack(dots, 1).astype(np.float32)
        self.frames = np.full(len(seeds), steps + 1, np.int64)

    def read(self, episode: int, start: int, stop: int, skip: int) -> Cut:
        """A stretch of an episode, its pictures drawn now."""
        where = self.path[episode, start:stop:skip]
        count = len(where)
        last = start + (count - 1) * skip
        seen = where
        if self.view == "pixels":
            walls = np.broadcast_to(self.walls[episode], (count, *self.walls.shape[1:]))
            dots = self.dots[episode, start:stop:skip].astype(np.float64)
            seen = draw(where.astype(np.float64), walls, dots, self.size)
        return Cut(seen, self.actions[episode, start:last], where)

    def sizes(self) -> Sizes:
        """Pictures or positions, actions of two numbers, and the position as proprioception."""
        frame = (CHANNELS, self.size, self.size) if self.view == "pixels" else (2,)
        return Sizes(int(self.frames[0]), frame, 2, 2)

    def name(self, episode: int) -> str:
        """Its number."""
        return f"episode {episode}"

    def fingerprint(self) -> str:
        """SHA-256 over positions, actions, walls and distractors."""
        digest = hashlib.sha256(f"{self.view} {self.size}".encode())
        for part in (self.path, self.actions, self.walls, self.dots):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


class Stills(Observations):
    """Places seen for the length of a window, labelled with their column and row: for probes of what a frame tells.

    Args:
        env: the environment.
        seeds: one for each place.
        frames: frames of a window.
    """

    in_memory = True

    def __init__(self, env: RoomsEnv, seeds: Int64[ndarray, " N"], frames: int) -> None:
        self.env, self.seeds, self.frames = env, seeds, frames
        env.reset(seeds)
        env.place(uniform(seeds, PLACE, count=2))
        self.state: Float64[ndarray, "N 2"] = env.state()
        self.walls, self.dots = env.walls, env.wandering
        self.shape = (frames, *env.obs_shape)
        cells = np.minimum((self.state * CELLS).astype(np.int64), CELLS - 1)
        names = [f"{cell + 1}/{CELLS}" for cell in range(CELLS)]
        self.factors = {"column": Labels(cells[:, 0], names), "row": Labels(cells[:, 1], names)}

    def __len__(self) -> int:
        return len(self.seeds)

    def observe(self, index: int, rng: torch.Generator | None = None) -> torch.Tensor:
        """The place, again and again."""
        one = slice(index, index + 1)
        seen = self.state[one].astype(np.float32)
        if self.env.view == "pixels":
            seen = draw(self.state[one], self.walls[one], self.dots[one], self.env.size)
        return torch.from_numpy(np.repeat(seen, self.frames, 0))

    def fingerprint(self) -> str:
        """SHA-256 over places, walls and distractors."""
        digest = hashlib.sha256(f"{self.shape}".encode())
        for part in (self.state, self.walls, self.dots):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


class Rooms(DataSource, Simulated):
    """Random walks in worlds of rooms, see `RoomsEnv` and `Wander`. The factors for probes are column and row of a place.

    Args:
        layout: `empty`, `two_rooms`, `random_doors`, `smaze` or `snake`.
        view: observe `pixels` or the `state`.
        size: side of the pictures.
        dots: number of distractors.
        stride: length of a step.
        reach: distance at which a goal counts as reached.
        radius: how near the point can come to a wall or the border.
        wind: how far an unseen wind carries the point in every step.
        episodes: how many walks.
        steps: actions in each.
        history: frames of a window that are seen.
        horizon: frames of a window that are asked for.
        skip: every how many frames of a walk one is taken.
        proprioception: give the position in every frame as a part of the condition.
        persistent: share of walks that keep their direction; the others are white noise.
        turn: chance of a new direction in a step.
        shake: standard deviation of the noise on every action.
        seed: decides everything.

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
        episodes: int = 1_500,
        steps: int = 60,
        history: int = 1,
        horizon: int = 16,
        skip: int = 1,
        proprioception: bool = False,
        persistent: float = 0.9,
        turn: float = 0.1,
        shake: float = 0.15,
        seed: int = 0,
    ) -> None:
        if min(episodes, steps) < 1:
            raise UserError(f"episodes and steps must be at least 1: episodes={episodes}, steps={steps}")
        self.settings = (layout, view, size, dots, stride, reach, radius, wind)
        self.env = self.environment()
        self.policy = checked_wander(persistent, turn, shake)
        self.episodes, self.steps, self.seed = int(episodes), int(steps), int(seed)
        self.history, self.horizon, self.skip = int(history), int(horizon), int(skip)
        self.proprioception = bool(proprioception)
        self.channels = self.env.obs_shape[0]

    def environment(self) -> RoomsEnv:
        """The worlds that the walks are made in."""
        return RoomsEnv(*self.settings)

    @functools.cached_property
    def _walks(self) -> Walks:
        return Walks(self.env, self.policy, seeds_of(self.seed, range(self.episodes)), self.steps)

    def train(self) -> Windows:
        """The windows of all walks."""
        told = self.proprioception
        return Windows(self._walks, self.history, self.horizon, self.skip, proprioception=told, in_memory=True)

    def probe(self) -> ProbeSplits:
        """Places, none of which is in two splits."""
        splits, first = [], 0
        for count in PROBE_SIZES.values():
            # Negative seeds: no walk has one.
            seeds = -1 - seeds_of(self.seed, range(first, first + count))
            splits.append(Stills(self.environment(), seeds, self.history + self.horizon))
            first += count
        return ProbeSplits(*splits)
