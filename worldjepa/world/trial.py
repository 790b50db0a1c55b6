"""Episodes carried out, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from worldjepa.world.agent import Actor
from worldjepa.world.environment import GoalEnvironment, Navigable, Task


class Outcome(NamedTuple):
    """What came of B tasks."""

    first: Int64[ndarray, " B"]
    """Steps until the goal was first reached; -1 where it was not."""
    stayed: Bool[ndarray, " B"]
    """Whether the goal was still reached when the episode ended."""
    path: Float64[ndarray, "B T S"]
    """The states."""
    shortest: Float64[ndarray, " B"] | None
    """Steps of the shortest way, where it is known."""
    evaluations: Float64[ndarray, " B"]
    """Steps that predictors took until the goal was first reached, or until the end."""

    @property
    def solved(self) -> Bool[ndarray, " B"]:
        """Whether the goal was ever reached."""
        return self.first >= 0


def carry_out(
    environment: GoalEnvironment,
    actor: Actor,
    tasks: list[Task],
    budget: int,
    whole: bool = False,
    tell: Callable[[int], None] = lambda step: None,
) -> Outcome:
    """Let an actor do all tasks side by side.

    Args:
        environment: where.
        actor: who.
        tasks: what.
        budget: steps that an episode may take.
        whole: go on to the end of the budget, so that `stayed` means something for all; otherwise it ends when all are solved.
        tell: is told the number of steps taken.
    """
    goal = np.array([task.goal for task in tasks], np.float64)
    obs = environment.begin(tasks)
    shortest = environment.steps_left(goal) if isinstance(environment, Navigable) else None
    actor.begin(tasks, obs, environment.imagine(goal))
    first = np.full(len(tasks), -1, np.int64)
    spent = np.zeros(len(tasks))
    path = [environment.state()]
    for step in range(1, budget + 1):
        obs = environment.step(actor.act(obs, environment.state()))
        path.append(environment.state())
        spent = np.where(first < 0, actor.evaluations, spent)
        there = environment.solved(goal)
        first = np.where((first < 0) & there, step, first)
        tell(step)
        if not whole:
            if (first >= 0).all():
                break
            actor.rest(first >= 0)
    return Outcome(first, environment.solved(goal), np.stack(path, 1), shortest, spent)


class Interval(NamedTuple):
    """A share with its confidence interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.share:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def wilson(successes: int, trials: int, z: float = 1.959964) -> Interval:
    """The share of successes with the score interval of Wilson (1927), by default of 95 %.

    Raises:
        ValueError: there were no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials")
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
