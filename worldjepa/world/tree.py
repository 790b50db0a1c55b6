"""Search that spreads: a tree of imagined states that goes first where it has not been yet."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost
from worldjepa.world.model import Frames, Rollout
from worldjepa.world.planners import Best, Imagines, Plan, Planner, Question, at_least_one
from worldjepa.world.spaces import ActionSpace


class Front(NamedTuple):
    """The F nodes that grow next, each with all that led to it."""

    frames: Float[Tensor, "B F T n D"]
    acts: Float[Tensor, "B F P W"]
    """Between the frames, one fewer."""


@final
class Tree(Planner):
    """Grows a tree of states step by step, and returns the way to the node that the cost likes best.

    Every step tries `samples` actions on the `nodes` nodes that were kept last. Of what they lead to it keeps the one with the
    least cost, and then, one after another, the state that is farthest from all that was kept so far. Planners that refine
    whole plans stay where the way to the goal first leads away from it, as in a maze; a tree does not, and asks the model for
    one step of a candidate where those ask for all. A cost judges each node by itself: what it says of the last state counts.

    Args:
        samples: steps that are tried, on all nodes of a depth together.
        nodes: how many are kept of them.

    Raises:
        UserError: a number is below 1, or there are fewer samples than nodes.

    Source: expansive-space trees (Hsu, Latombe and Motwani, 1997) and rapidly-exploring random trees (LaValle, 1998), here with
    the farthest-point rule of Gonzalez (1985) in representation space.
    """

    def __init__(self, samples: int = 512, nodes: int = 16) -> None:
        at_least_one(samples=samples, nodes=nodes)
        if samples < nodes:
            raise UserError(f"a tree needs at least as many samples as nodes: samples={samples}, nodes={nodes}")
        self.samples, self.nodes = samples, nodes

    @torch.no_grad()
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once. After the best node a plan goes on with the middle of the space.

        Raises:
            UserError: the model must be told states beside its frames, which nobody imagines.
        """
        if question.history.state is not None:
            raise UserError("a tree cannot be searched with a model that is told states beside its frames")
        front = _root(question, space)
        known = front.frames[:, :, -1].flatten(2)  # [B, M, n*D]
        ways: list[Tensor] = []
        costs: list[Tensor] = []
        spent = 0
        for _ in range(question.horizon):
            grown = self._grow(model, front, question.history.pos, space, rng)
            spent += grown.evaluations
            value = cost(grown, question.goal)  # [B, N]
            spread = grown.states[:, :, 0].flatten(2)
            kept = farthest(spread, known, value, self.nodes)
            rows = torch.arange(len(kept))[:, None]
            known = torch.cat([known, spread[rows, kept]], 1)
            front = _onward(front, grown, kept)
            ways.append(front.acts[:, :, -(len(ways) + 1) :])
            costs.append(value[rows, kept])
        best = Best(model, question, cost)
        best.judge(torch.cat([_way(ways, costs, space, question.horizon)[:, None], *_given(question, space)], 1))
        best.evaluations += spent
        return best.plan()

    def _grow(
        self, model: Imagines, front: Front, pos: Float[Tensor, "n 2"], space: ActionSpace, rng: torch.Generator
    ) -> Rollout:
        """One step from every node with some actions each: N candidates of one step, node by node."""
        b, f = front.frames.shape[:2]
        each = self.samples // f
        acts = space.sample((b, f * each, 1), rng)
        past = front.acts.flatten(0, 1) if front.acts.shape[2] else None
        steps = model.rollout(Frames(front.frames.flatten(0, 1), pos), acts.reshape(b * f, each, 1, -1), past)
        spread = None if steps.spread is None else steps.spread.reshape(b, f * each, 1)
        return Rollout(steps.states.reshape(b, f * each, *steps.states.shape[2:]), acts, spread, steps.evaluations * f)


def farthest(
    points: Float[Tensor, "B N D"], known: Float[Tensor, "B M D"], value: Float[Tensor, "B N"], count: int
) -> Int[Tensor, "B K"]:
    """The point of the least value, and then, one after another, the one farthest from what is known and chosen.

    Returns:
        Indices of `count` points, or of all if there are fewer; none twice, unless points coincide.
    """
    rows = torch.arange(len(points))
    apart = torch.cdist(points, known).amin(2)
    between = torch.cdist(points, points)
    chosen = [value.argmin(1)]
    for _ in range(1, min(count, points.shape[1])):
        apart = torch.minimum(apart, between[rows, chosen[-1]])
        chosen.append(apart.argmax(1))
    return torch.stack(chosen, 1)


def _root(question: Question, space: ActionSpace) -> Front:
    frames = question.history.x[:, None]
    none = frames.new_zeros(len(frames), 0, len(space.middle))
    return Front(frames, (none if question.past is None else question.past)[:, None])


def _onward(front: Front, grown: Rollout, kept: Int[Tensor, "B K"]) -> Front:
    """The kept nodes, each with what led to it."""
    rows = torch.arange(len(kept))[:, None]
    parent = kept // (grown.actions.shape[1] // front.frames.shape[1])
    frames = torch.cat([front.frames[rows, parent], grown.states[rows, kept]], 2)
    return Front(frames, torch.cat([front.acts[rows, parent], grown.actions[rows, kept]], 2))


def _way(
    ways: list[Float[Tensor, "B _ _ W"]], costs: list[Float[Tensor, "B _"]], space: ActionSpace, horizon: int
) -> Float[Tensor, "B H W"]:
    """The actions that lead to the best node of each task, the shortest of equals, and then the middle of the space."""
    each = torch.stack([value.min(1).values for value in costs])  # [H, B]
    actions = space.middle.to(ways[0]).expand(len(ways[0]), horizon, -1).clone()
    for task, depth in enumerate(each.argmin(0).tolist()):
        node = int(costs[depth][task].argmin())
        actions[task, : depth + 1] = ways[depth][task, node]
    return actions


def _given(question: Question, space: ActionSpace) -> list[Float[Tensor, "B _ H W"]]:
    """Plans to begin with: they are judged beside the way that was found."""
    given = [] if question.warm is None else [space.clip(question.warm)[:, None]]
    return given if question.proposals is None else [*given, space.clip(question.proposals)]
