"""Environments of gymnasium with goals: states that an episode of random actions reached some steps later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from numpy import ndarray

from worldjepa.errors import UserError, unknown
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import Environment, GoalEnvironment, Task
from worldjepa.world.gymnasium import GymEnvironment
from worldjepa.world.known import Known, known_of
from worldjepa.world.record import TOGETHER, record, whole

HELD_OUT = 1 << 40
"""Where the seeds of tasks begin: far from those of episodes."""
TRIES = 50
"""Draws for tasks before their kind counts as impossible."""


@final
class GymGoals(GoalEnvironment):
    """A `GymEnvironment` about whose state enough is known to plan in it. There is no oracle.

    Args:
        name: the registered name.
        view: observe `observations` or `pixels`.
        key: which of several observations.
        size: side of drawn pictures.
        known: what is known; by default that of `worldjepa.world.known`.

    Raises:
        UserError: nothing is known about this environment, or see `GymEnvironment`.
    """

    def __init__(
        self, name: str, view: str = "observations", key: str | None = None, size: int = 64, known: Known | None = None
    ) -> None:
        self.made_with = (name, view, key, size, known)
        self.worlds = GymEnvironment(name, view, key, size, known)
        if self.worlds.known is None:
            raise UserError(f"nothing is known about the state of {name}: say it with a worldjepa.world.known.Known")
        self.known = self.worlds.known
        self.low, self.high = self.worlds.low, self.worlds.high
        self.spare: GymEnvironment | None = None
        """One more world, to look at goals in."""

    def settings(self, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """What decides what is seen, and where."""
        return {"name": self.worlds.name, "view": self.worlds.view, "key": self.worlds.key, "size": self.worlds.size}

    def reset(self, seeds: Int64[ndarray, " B"]) -> Shaped[ndarray, "B ..."]:
        """Begin a world for each seed."""
        self.seeds = seeds
        return self.worlds.reset(seeds)

    def step(self, actions: Float[ndarray, "B A"]) -> Shaped[ndarray, "B ..."]:
        """Act in every world that has not ended."""
        return self.worlds.step(actions)

    def ended(self) -> Bool[ndarray, " B"]:
        """Which worlds have ended or were broken off."""
        return self.worlds.ended()

    def state(self) -> Float64[ndarray, "B S"]:
        """The state of every world."""
        state = self.worlds.state()
        assert state is not None
        return state

    def place(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """Put the worlds into other states and return what is observed."""
        return self.worlds.place(state)

    def imagine(self, state: Float[ndarray, "B S"]) -> Shaped[ndarray, "B ..."]:
        """What would be observed in other states; the worlds themselves are left alone."""
        self.spare = self.spare or GymEnvironment(*self.made_with)
        seen = []
        for index in range(len(state)):
            self.spare.reset(self.seeds[index : index + 1])
            seen.append(self.spare.place(state[index : index + 1])[0])
        return np.stack(seen)

    def solved(self, goal: Float[ndarray, "B S"]) -> Bool[ndarray, " B"]:
        """Whether each world's state is at its goal."""
        return self.known.solved(self.state(), goal)

    def tasks(self, kind: str, count: int, seed: int) -> list[Task]:
        """Draw tasks: the goal is where a random episode of a held-out seed is `known.ahead[kind]` steps from its start.

        Raises:
            UserError: there is no such kind, or episodes end too early or lead nowhere.
        """
        ahead = self.known.ahead
        if kind not in ahead:
            raise unknown("kind of tasks", kind, ahead)
        found: list[Task] = []
        for draw in range(TRIES):
            first = HELD_OUT + seed * 1_000_003 + draw * TOGETHER
            seeds = np.arange(first, first + min(count, TOGETHER), dtype=np.int64)
            found += self._tasks(seeds, ahead[kind])
            if len(found) >= count:
                return found[:count]
        raise UserError(f"{self.worlds.name} has no tasks of the kind '{kind}': {len(found)} of {count} found")

    def _tasks(self, seeds: Int64[ndarray, " B"], steps: int) -> list[Task]:
        episodes = record(self, Wander(), seeds, steps)
        made = []
        for number, episode in zip(seeds, episodes, strict=True):
            if whole([episode], steps) and episode.proprioception is not None:
                start, goal = episode.proprioception[[0, steps]].astype(np.float64)
                if not self.known.solved(start[None], goal[None])[0]:
                    made.append(Task(int(number), tuple(start.tolist()), tuple(goal.tolist())))
        return made


def open_gym(
    name: str, view: str = "observations", key: str | None = None, size: int = 64, known: Known | None = None
) -> Environment:
    """An environment of gymnasium, with goals where enough is known about it.

    Raises:
        UserError: see `GymEnvironment`.
    """
    if known is None and known_of(name) is None:
        return GymEnvironment(name, view, key, size)
    return GymGoals(name, view, key, size, known)
