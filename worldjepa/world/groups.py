"""Tasks that are gone about in different ways: parts of a question, and one plan of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.world.model import Frames
from worldjepa.world.planners import Plan, Question


class Part(NamedTuple):
    """A plan of some of the tasks."""

    rows: list[int]
    plan: Plan


def of_tasks(question: Question, rows: Sequence[int]) -> Question:
    """The question for some of the tasks."""
    index, (x, pos, state) = list(rows), question.history
    return question._replace(
        history=Frames(x[index], pos, None if state is None else state[index]),
        goal=question.goal[index],
        past=None if question.past is None else question.past[index],
        warm=None if question.warm is None else question.warm[index],
        proposals=None if question.proposals is None else question.proposals[index],
    )


def lengthened(x: Float[Tensor, "B H ..."], horizon: int) -> Float[Tensor, "B {horizon} ..."]:
    """The first `horizon` steps; the last one goes on where there are fewer."""
    missing = horizon - x.shape[1]
    return x[:, :horizon] if missing <= 0 else torch.cat([x, x[:, -1:].expand(-1, missing, *x.shape[2:])], 1)


def merged(parts: Sequence[Part], horizon: int) -> Plan:
    """One plan for all tasks, each of which is in one part. Shorter plans go on with their last step.

    Evaluations are those of the task that took most; the trace is the mean of those that were searched, cut to the shortest.
    """
    order = torch.tensor([row for part in parts for row in part.rows]).argsort()
    return Plan(
        torch.cat([lengthened(part.plan.actions, horizon) for part in parts])[order],
        torch.cat([lengthened(part.plan.states, horizon) for part in parts])[order],
        torch.cat([part.plan.cost for part in parts])[order],
        max(part.plan.evaluations for part in parts),
        _trace([part for part in parts if part.plan.trace]),
    )


def _trace(parts: Sequence[Part]) -> list[float]:
    if len(parts) == 1:
        return list(parts[0].plan.trace)
    length = min((len(part.plan.trace) for part in parts), default=0)
    tasks = sum(len(part.rows) for part in parts)
    ends = [[len(part.rows) * cost for cost in part.plan.trace[-length:]] for part in parts]
    return [sum(costs) / tasks for costs in zip(*ends, strict=True)] if length else []
