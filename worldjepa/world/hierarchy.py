"""Planning on several levels: the highest imagines the way in long steps, and each level below makes for its first sub-goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.levels import Level
from worldjepa.world.costs import Cost, LatentDistance
from worldjepa.world.groups import Part, merged, of_tasks
from worldjepa.world.model import Frames, Rollout, WorldModel
from worldjepa.world.planners import Imagines, Plan, Planner, Question
from worldjepa.world.spaces import ActionSpace, Bank


class Search(NamedTuple):
    """How one level looks for a plan."""

    model: Imagines
    planner: Planner
    cost: Cost
    """Judges candidates where the level makes for its goal, and not for a sub-goal."""
    space: ActionSpace


class Stage(NamedTuple):
    """One level above the lowest."""

    lift: nn.Module
    """Makes this level's representations `[*b, E]` of those of the level below, `[*b, D]`."""
    search: Search
    horizon: int
    """Steps of this level to plan."""


@final
class TopDown(Planner):
    """Plans from the highest level to the lowest, and returns the plan of the lowest.

    The first state that a level imagines is the sub-goal of the level below, which measures its distance in the representations
    of the level above. Where the goal itself is nearer than the sub-goal, a level makes straight for the goal: the last mile.

    Args:
        planner: searches on the lowest level.
        stages: the levels above, from the lowest to the highest.
        chase: how a level judges its candidates by a sub-goal; the sum of distances over the horizon by default. They are
            measured where the level above represents them.

    Raises:
        UserError: there are no levels above.

    Source: HWM (arXiv 2604.03208), H-JEPA (arXiv 2610.06805).
    """

    def __init__(self, planner: Planner, stages: Sequence[Stage], chase: LatentDistance | None = None) -> None:
        if not stages:
            raise UserError("planning on several levels needs a model with levels above the lowest")
        self.planner, self.stages = planner, list(stages)
        like = LatentDistance() if chase is None else chase
        self.chase = [LatentDistance(like.metric, like.reduce, stage.lift) for stage in stages]

    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once; the evaluations are those of all levels."""
        searches = [Search(model, self.planner, cost, space), *(stage.search for stage in self.stages)]
        asks = [question]
        for stage in self.stages:
            now, goal = stage.lift(asks[-1].history.x[:, -1:]), stage.lift(asks[-1].goal)
            asks.append(Question(Frames(now, question.history.pos), goal, stage.horizon))
        top = searches[-1]
        plan = top.planner.plan(top.model, asks[-1], top.cost, top.space, rng)
        spent, trace = plan.evaluations, plan.trace
        pairs = zip(searches, asks, searches[1:], asks[1:], self.chase, strict=False)
        for search, ask, higher, above, chase in reversed(list(pairs)):
            last_mile = nearer(above, plan.states[:, 0], higher.cost)
            plan = pursue(search, ask, plan.states[:, 0], last_mile, chase, rng)
            spent, trace = spent + plan.evaluations, trace + plan.trace
        return plan._replace(evaluations=spent, trace=trace)


def nearer(ask: Question, subgoal: Float[Tensor, "B n E"], cost: Cost) -> Bool[Tensor, " B"]:
    """Where a level's goal is nearer than its sub-goal, as its cost judges the place where it stands."""
    now = ask.history.x[:, -1]
    here = Rollout(now[:, None, None], now.new_zeros(len(now), 1, 1, 0), now.new_zeros(len(now), 1, 1), 0)
    closer: Tensor = cost(here, ask.goal)[:, 0] < cost(here, subgoal)[:, 0]
    return closer


def pursue(
    search: Search,
    ask: Question,
    subgoal: Float[Tensor, "B n E"],
    last_mile: Bool[Tensor, " B"],
    chase: LatentDistance,
    rng: torch.Generator,
) -> Plan:
    """The plan of a level, where some tasks make for a sub-goal and others straight for the goal.

    Args:
        search: how the level plans.
        ask: its question.
        subgoal: what the level above imagines after its first step.
        last_mile: which tasks make straight for the goal.
        chase: judges by sub-goals.
        rng: all randomness.
    """
    parts = []
    for which, cost, goal in ((last_mile, search.cost, ask.goal), (~last_mile, chase, subgoal)):
        rows = which.nonzero().flatten().tolist()
        if rows:
            some = of_tasks(ask._replace(goal=goal), rows)
            parts.append(Part(rows, search.planner.plan(search.model, some, cost, search.space, rng)))
    return merged(parts, ask.horizon)


def stages_of(
    levels: Sequence[Level],
    acting: Float[Tensor, "E T W"],
    planner: Planner,
    horizons: Sequence[int],
    cost: Cost | None = None,
    tail: float = 0.01,
) -> list[Stage]:
    """Trained levels, ready to plan with; their macro-actions are those of episodes that were watched.

    Args:
        levels: from the lowest to the highest.
        acting: the normalised actions of episodes that are at least as long as one step of the highest level.
        planner: searches on all of these levels.
        horizons: steps to plan, for each of them.
        cost: judges their candidates by the goal; by default the least distance over the horizon.
        tail: see `Bank`.

    Raises:
        UserError: there are more or fewer horizons than levels, nobody acts, or the episodes are too short.
    """
    if len(horizons) != len(levels):
        raise UserError(f"{len(levels)} levels above the lowest need as many horizons, not {len(horizons)}")
    judge = LatentDistance("l2", "min") if cost is None else cost
    below: Tensor | None = acting
    step, stages = 1, []
    for level, horizon in zip(levels, horizons, strict=True):
        with torch.no_grad():
            below = level.macro_actions(below, step)
        step *= level.stride
        if below is None:
            raise UserError("this level was trained without actions: there is nothing to plan")
        if not below.numel():
            raise UserError(f"episodes of {acting.shape[1]} actions are shorter than a step of {step} frames")
        space = Bank(below[:, :: level.stride].flatten(0, 1)[:, None], tail)
        encoder = level.released()
        search = Search(WorldModel(encoder, level.predictor), planner, judge, space)
        stages.append(Stage(encoder.net, search, horizon))
    return stages
