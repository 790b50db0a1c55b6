"""What an environment must offer so that episodes can be recorded in it and plans carried out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray


class Task(NamedTuple):
    """One thing to do, as plain numbers, so that task files are JSON."""

    seed: int
    """Decides everything about the world that is not said here."""
    start: tuple[float, ...]
    goal: tuple[float, ...]


class Environment(ABC):
    """B worlds side by side that obey actions; NumPy arrays in and out.

    Everything random is a function of the seeds, and no world depends on those beside it. `low` and `high` bound the actions.
    """

    low: Float[ndarray, " A"]
    high: Float[ndarray, " A"]
    obs_shape: tuple[int, ...]
    """Shape of one observation."""
    state_dim: int
    """Number of values of the state, S."""

    @abstractmethod
    def reset(
        self, seeds: Int64[ndarray, " B"], start: Float[ndarray, "B S"] | None = None
    ) -> Shaped[ndarray, "B ..."]:
        """Begin B worlds, in the given states or at random ones, and return what is observed."""

    @abstractmethod
    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act once in every world and return what is observed then."""

    @abstractmethod
    def state(self) -> Float[ndarray, "B S"]:
        """What there is to know about the worlds beside what stays as it is: the proprioception."""

    @abstractmethod
    def imagine(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """What would be observed in the present worlds in another state, such as the goal."""


class Navigable(Environment):
    """An environment with goals to reach, and an oracle that knows the way."""

    @abstractmethod
    def tasks(self, kind: str, count: int, seed: int) -> list[Task]:
        """Draw tasks of a kind, none of which is solved at its start.

        Raises:
            UserError: there is no such kind, or none can be found here.
        """

    @abstractmethod
    def solved(self, goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Whether each world's state is at its goal."""

    @abstractmethod
    def steps_left(self, goal: Float[ndarray, "B S"]) -> Float[ndarray, " B"]:
        """The number of steps that the shortest way to each goal takes, not rounded."""

    @abstractmethod
    def expert(self, goal: Float[ndarray, "B S"]) -> Float[ndarray, "B A"]:
        """The action along the shortest way to each goal."""

    def begin(self, tasks: Sequence[Task]) -> Shaped[ndarray, "B ..."]:
        """Begin the worlds of tasks and return what is observed."""
        seeds = np.array([task.seed for task in tasks], np.int64)
        return self.reset(seeds, np.array([task.start for task in tasks], np.float64))


class Simulated(ABC):
    """Data that come from an environment, which can go on making them, and in which plans can be tried."""

    @abstractmethod
    def environment(self) -> Environment:
        """The environment, with nothing begun in it."""
