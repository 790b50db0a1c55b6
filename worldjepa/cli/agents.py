"""From the words of `worldjepa plan` to an agent: its cost, its space of actions, its planner, on all levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.levels import Hierarchy, Level
from worldjepa.world.agent import Agent
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import Cost, LatentDistance, Uncertainty, WeightedSum
from worldjepa.world.environment import GoalEnvironment
from worldjepa.world.episodes import Episode
from worldjepa.world.hierarchy import Stage, TopDown, stages_of
from worldjepa.world.landmarks import Landmarks
from worldjepa.world.model import WorldModel
from worldjepa.world.planners import CEM, MPPI, Gradient, Planner, RandomShooting
from worldjepa.world.probe import encoded
from worldjepa.world.reach import Reachability
from worldjepa.world.record import record, seeds_of, whole
from worldjepa.world.spaces import ActionSpace, Bank, Box
from worldjepa.world.tree import Tree

WATCHED = 200
"""Episodes that a reachability cost or a bank of actions is made from."""
SURVEYED = 500
"""Episodes that landmarks are chosen from."""
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
    top: str
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
    levels = used_levels(hierarchy, wanted.levels)
    if wanted.top != wanted.planner and not levels:
        raise UserError(
            f"top={wanted.top} is the planner of the highest of several levels, but one level is planned on"
        )
    needed = wanted.cost in ("reach", "landmarks") or wanted.space == "bank" or levels
    number = SURVEYED if wanted.cost == "landmarks" else WATCHED
    watched = watch(environment, levels, model.actions.repeat, number) if needed else []
    cost = make_cost(model, watched, wanted)
    planner = make_planner(wanted, wanted.planner)
    if hierarchy is not None and levels:
        planner = TopDown(planner, make_stages(hierarchy, levels, acts_of(model, watched), cost, wanted))
    if wanted.uncertainty:
        cost = WeightedSum([cost, Uncertainty()], [1.0, wanted.uncertainty])
    horizon = wanted.horizon or (levels[0].stride if levels else HORIZON)
    space = make_space(model, watched, wanted)
    return Agent(model, planner, cost, space, horizon, wanted.execute, wanted.seed)


def watch(environment: GoalEnvironment, levels: Sequence[Level], repeat: int, number: int = WATCHED) -> list[Episode]:
    """Episodes that costs and banks of actions are made from, twice as long as a step of the slowest level.

    Raises:
        UserError: they end too early.
    """
    length = max(6 * STRETCH, 2 * math.prod(level.stride for level in levels)) * repeat
    watched = whole(record(environment, Wander(), seeds_of(ELSEWHERE + 2, range(number)), length), length)
    if len(watched) < 2:
        what = "cost=reach, cost=landmarks, space=bank and levels"
        raise UserError(f"{what} need episodes of {length} steps, but here they end before")
    return watched


def acts_of(model: WorldModel, watched: Sequence[Episode]) -> Float[Tensor, "E T W"]:
    """What acts between the frames of the model in episodes."""
    acts = torch.from_numpy(np.stack([episode.actions for episode in watched]))
    return acts.reshape(len(acts), -1, model.actions.width)


def make_cost(model: WorldModel, watched: Sequence[Episode], wanted: Wanted) -> Cost:
    """The cost that the words describe, but for uncertainty.

    Raises:
        UserError: one predictor shall tell how uncertain it is.
    """
    if wanted.uncertainty and len(model.members) < 2:
        raise UserError(
            f"uncertainty={wanted.uncertainty:g} needs a model with several predictors: train with predictor=ensemble_mlp"
        )
    if wanted.cost == "landmarks":
        survey = Landmarks(reduce=wanted.reduce)  # type: ignore[arg-type]
        survey.fit(states_of(model, watched))
        return survey
    if wanted.cost == "reach":
        states = states_of(model, watched)
        torch.manual_seed(wanted.seed)
        cost = Reachability(states.shape[-1] * states.shape[-2], reduce=wanted.reduce)  # type: ignore[arg-type]
        cost.fit(states, torch.Generator().manual_seed(wanted.seed), FITTED)
        cost.requires_grad_(False)
        return cost
    return LatentDistance(wanted.cost, wanted.reduce)  # type: ignore[arg-type]


def states_of(model: WorldModel, watched: Sequence[Episode]) -> Float[Tensor, "E T n D"]:
    """The encoded frames of episodes."""
    return torch.stack([encoded(model, episode.observations[:: model.actions.repeat]) for episode in watched])


def make_space(model: WorldModel, watched: Sequence[Episode], wanted: Wanted) -> ActionSpace:
    """Where the words take candidates from."""
    spec = model.actions
    if wanted.space == "box":
        return Box(spec.low.repeat(spec.repeat), spec.high.repeat(spec.repeat))
    acts = acts_of(model, watched)
    return Bank(acts[:, : acts.shape[1] // STRETCH * STRETCH].reshape(-1, STRETCH, spec.width))


def make_stages(
    hierarchy: Hierarchy, levels: Sequence[Level], acts: Float[Tensor, "E T W"], cost: Cost, wanted: Wanted
) -> list[Stage]:
    """The levels above the lowest, ready to plan with twice the candidates of the lowest.

    Where the lowest level counts distance over landmarks, so do they; otherwise in their representations.

    Raises:
        UserError: `above` is for more or fewer levels, or nobody acts on them.
    """
    above = wanted.above or (*(level.stride for level in levels[1:]), ABOVE)
    if len(above) != len(levels):
        given = ",".join(map(str, above))
        raise UserError(
            f"above={given} says how far {len(above)} levels plan, but there are {len(levels)} above the lowest"
        )
    acting = hierarchy.acting_of(acts)
    if acting is None:
        raise UserError("the levels of this model were trained without actions; choose levels=1")
    stages = stages_of(levels, acting, make_planner(wanted, wanted.planner, 2), above)
    if isinstance(cost, Landmarks):
        stages = surveyed(stages, cost)
    highest = stages[-1].search._replace(planner=make_planner(wanted, wanted.top, 2))
    return [*stages[:-1], stages[-1]._replace(search=highest)]


def surveyed(stages: Sequence[Stage], cost: Landmarks) -> list[Stage]:
    """The same levels, each of which judges by the same landmarks where it represents them."""
    made = []
    for stage in stages:
        cost = cost.lifted(stage.lift, "min")
        made.append(stage._replace(search=stage.search._replace(cost=cost)))
    return made


def used_levels(hierarchy: Hierarchy | None, number: int | None) -> list[Level]:
    """The levels above the lowest that are planned on.

    Raises:
        UserError: the model has fewer.
    """
    every = [] if hierarchy is None else hierarchy.each
    if number is not None and number > len(every) + 1:
        raise UserError(f"levels={number}, but the model has {len(every) + 1}; train more with levels=NAME")
    return every if number is None else every[: number - 1]


def make_planner(wanted: Wanted, name: str, times: int = 1) -> Planner:
    """The planner of that name as the words describe it, with so many times the candidates.

    Raises:
        UserError: a number is out of its range.
    """
    samples, iterations = wanted.samples, wanted.iterations
    if name == "cem":
        if samples == 1:
            raise UserError("samples=1: planner=cem needs at least 2")
        count = times * (samples or 128)
        return CEM(count, iterations or 4, max(2, count // (8 * times)))
    if name == "mppi":
        return MPPI(times * (samples or 128), iterations or 4)
    if name == "gradient":
        return Gradient(times * (samples or 16), iterations or 30)
    if name == "tree":
        count = times * (samples or 256)
        return Tree(count, max(1, count // 32))
    return RandomShooting(times * (samples or 512))
