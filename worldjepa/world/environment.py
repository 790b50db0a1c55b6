"""What an environment must offer so that episodes can be recorded in it and plans carried out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from numpy import ndarray


class Task(NamedTuple):
    """One thing to do, as plain numbers, so that task files are JSON."""

    seed: int
    """Decides everything about the world that is not said here."""
    start: tuple[float, ...]
    goal: tuple[float, ...]


class Environment(ABC):
    """B worlds side by side that obey actions; NumPy arrays in and out.

    Everything random is a function of the seeds, and no world depends on those beside it.
    """

    low: Float[ndarray, " A"]
    """Least value of each component of an action."""
    high: Float[ndarray, " A"]
    """Largest value of each."""

    @abstractmethod
    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin B worlds and return what is observed."""

    @abstractmethod
    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act once in every world and return what is observed then."""

    def settings(self, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """Of what an environment was made with, that which makes its worlds what they are. By default all of it."""
        return dict(made_with)

    def state(self) -> Float[ndarray, "B S"] | None:
        """What the worlds tell of themselves besides: proprioception. By default nothing."""
        return None

    def ended(self) -> Bool[ndarray, " B"] | None:
        """Which worlds have come to an end of their own and must be begun anew; None where that does not happen."""
        return None


class GoalEnvironment(Environment):
    """An environment whose state is known, with goals to reach: plans can be carried out and judged in it."""

    @abstractmethod
    def state(self) -> Float[ndarray, "B S"]:
        """The state that goals are given in."""

    @abstractmethod
    def place(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """Put the worlds into other states and return what is observed.

        Raises:
            UserError: there is no such state.
        """

    @abstractmethod
    def imagine(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """What would be observed in the present worlds in other states, such as their goals."""

    @abstractmethod
    def tasks(self, kind: str, count: int, seed: int) -> list[Task]:
        """Draw tasks of a kind, none of which is solved at its start.

        Raises:
            UserError: there is no such kind, or none can be found here.
        """

    @abstractmethod
    def solved(self, goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Whether each world's state is at its goal."""

    def begin(self, tasks: Sequence[Task]) -> Shaped[ndarray, "B ..."]:
        """Begin the worlds of tasks and return what is observed."""
        self.reset(np.array([task.seed for task in tasks], np.int64))
        return self.place(np.array([task.start for task in tasks], np.float64))


class Navigable(GoalEnvironment):
    """An environment with an oracle that knows the way, and a place for every state in a picture."""

    @abstractmethod
    def backdrop(self, size: int) -> UInt8[ndarray, "B {size} {size} 3"]:
        """A picture of each world without what moves in it; the first two numbers of a state are x and y on it, from 0 to 1."""

    @abstractmethod
    def steps_left(self, goal: Float[ndarray, "B S"]) -> Float[ndarray, " B"]:
        """The number of steps that the shortest way to each goal takes, not rounded."""

    @abstractmethod
    def expert(self, goal: Float[ndarray, "B S"]) -> Float[ndarray, "B A"]:
        """The action along the shortest way to each goal."""


class Simulated(ABC):
    """Data that come from an environment, which can go on making them, and in which plans can be tried."""

    @abstractmethod
    def environment(self) -> Environment:
        """The environment, with nothing begun in it."""
