"""From the words of `worldjepa plan` to an agent: its cost, its space of actions, its planner, on all levels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from worldjepa.errors import UserError
from worldjepa.levels import Hierarchy, Level
from worldjepa.world.agent import Agent
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import Cost, LatentDistance, Uncertainty, WeightedSum
from worldjepa.world.environment import GoalEnvironment
from worldjepa.world.hierarchy import TopDown, stages_of
from worldjepa.world.model import WorldModel
from worldjepa.world.planners import CEM, MPPI, Gradient, Planner, RandomShooting
from worldjepa.world.probe import encoded
from worldjepa.world.reach import Reachability
from worldjepa.world.record import record, seeds_of, whole
from worldjepa.world.spaces import ActionSpace, Bank, Box

WATCHED = 200
"""Episodes that a reachability cost or a bank of actions is made from."""
FITTED = 1_500
"""Steps in which a reachability cost is fitted."""
STRETCH = 10
"""Steps of a stretch of actions in a bank."""
HORIZON = 12
"""Steps that are planned on a single level."""
ABOVE = 10
"""Steps that are planned on the highest of several levels."""
ELSEWHERE = 7_919
"""Seeds of probes and of episodes that are watched begin here: they are neither those of training nor those of tasks."""


class Wanted(NamedTuple):
    """What the words ask for; see `worldjepa plan --help`."""

    tasks: str
    number: int
    budget: int | None
    planner: str
    samples: int | None
    iterations: int | None
    horizon: int | None
    execute: int
    levels: int | None
    above: tuple[int, ...]
    cost: str
    reduce: str
    uncertainty: float
    space: str
    seed: int
    whole: bool
    threads: int | None


def make_agent(model: WorldModel, hierarchy: Hierarchy | None, environment: GoalEnvironment, wanted: Wanted) -> Agent:
    """The agent that the words describe.

    Raises:
        UserError: a number is out of its range, the model has fewer levels, or one predictor shall tell how uncertain it is.
    """
    cost: Cost
    spec = model.actions
    levels = used_levels(hierarchy, wanted.levels)
    slowest = math.prod(level.stride for level in levels)
    watched = None
    if wanted.cost == "reach" or wanted.space == "bank" or levels:
        length = max(6 * STRETCH, 2 * slowest) * spec.repeat
        watched = whole(record(environment, Wander(), seeds_of(ELSEWHERE + 2, range(WATCHED)), length), length)
        if len(watched) < 2:
            raise UserError(
                f"cost=reach, space=bank and levels need episodes of {length} steps, but here they end before"
            )
    if wanted.cost == "reach":
        assert watched is not None
        states = torch.stack([encoded(model, episode.observations[:: spec.repeat]) for episode in watched])
        torch.manual_seed(wanted.seed)
        cost = Reachability(states.shape[-1] * states.shape[-2], reduce=wanted.reduce)  # type: ignore[arg-type]
        cost.fit(states, torch.Generator().manual_seed(wanted.seed), FITTED)
        cost.requires_grad_(False)
    else:
        cost = LatentDistance(wanted.cost, wanted.reduce)  # type: ignore[arg-type]
    if wanted.uncertainty:
        if len(model.members) < 2:
            raise UserError(
                f"uncertainty={wanted.uncertainty:g} needs a model with several predictors: train with predictor=ensemble_mlp"
            )
        cost = WeightedSum([cost, Uncertainty()], [1.0, wanted.uncertainty])
    space: ActionSpace = Box(spec.low.repeat(spec.repeat), spec.high.repeat(spec.repeat))
    planner = make_planner(wanted)
    horizon = wanted.horizon or (levels[0].stride if levels else HORIZON)
    if watched is not None:
        acts = torch.from_numpy(np.stack([episode.actions for episode in watched]))  # [E, T, A]
        acts = acts.reshape(len(acts), -1, spec.width)
        if wanted.space == "bank":
            space = Bank(acts[:, : acts.shape[1] // STRETCH * STRETCH].reshape(-1, STRETCH, spec.width))
        if levels and hierarchy is not None:
            above = wanted.above or (*(level.stride for level in levels[1:]), ABOVE)
            if len(above) != len(levels):
                given = ",".join(map(str, above))
                raise UserError(
                    f"above={given} says how far {len(above)} levels plan, but there are {len(levels)} above the lowest"
                )
            search = make_planner(wanted, 2)
            acting = hierarchy.acting_of(acts)
            if acting is None:
                raise UserError("the levels of this model were trained without actions; choose levels=1")
            planner = TopDown(planner, stages_of(levels, acting, search, above))
    return Agent(model, planner, cost, space, horizon, wanted.execute, wanted.seed)


def used_levels(hierarchy: Hierarchy | None, number: int | None) -> list[Level]:
    """The levels above the lowest that are planned on.

    Raises:
        UserError: the model has fewer.
    """
    every = [] if hierarchy is None else hierarchy.each
    if number is not None and number > len(every) + 1:
        raise UserError(f"levels={number}, but the model has {len(every) + 1}; train more with levels=NAME")
    return every if number is None else every[: number - 1]


def make_planner(wanted: Wanted, times: int = 1) -> Planner:
    """The planner that the words describe, with so many times the candidates.

    Raises:
        UserError: a number is out of its range.
    """
    samples, iterations = wanted.samples, wanted.iterations
    if wanted.planner == "cem":
        if samples == 1:
            raise UserError("samples=1: planner=cem needs at least 2")
        count = times * (samples or 128)
        return CEM(count, iterations or 4, max(2, count // (8 * times)))
    if wanted.planner == "mppi":
        return MPPI(times * (samples or 128), iterations or 4)
    if wanted.planner == "gradient":
        return Gradient(times * (samples or 16), iterations or 30)
    return RandomShooting(times * (samples or 512))
