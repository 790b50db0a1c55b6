"""Who acts: an agent that plans, and the two that it is measured beside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import Cost
from worldjepa.world.environment import Navigable, Task
from worldjepa.world.model import Frames, WorldModel
from worldjepa.world.planners import Plan, Planner, Question
from worldjepa.world.spaces import ActionSpace


class Actor(ABC):
    """Acts in B worlds at once."""

    evaluations: int = 0
    """Steps that predictors have taken so far, for each task."""

    @abstractmethod
    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks: what is observed now, and what would be observed at the goals."""

    @abstractmethod
    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action in each world, from what is observed and what the world tells of itself besides."""


@final
class Agent(Actor):
    """Plans with a world model, carries out the beginning of the plan, and plans again.

    Every observation is encoded once, when it comes. Where the model skips frames, only every `repeat`-th is looked at.

    Args:
        model: the world model.
        planner: searches.
        cost: judges.
        space: where candidates come from.
        horizon: steps of the model to plan.
        execute: how many of them are carried out before the next plan.
        seed: decides all that is random; together with the number of the plan.
        warm: begin each search with what is left of the last plan.

    Raises:
        UserError: more is to be carried out than is planned.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        cost: Cost,
        space: ActionSpace,
        horizon: int = 12,
        execute: int = 3,
        seed: int = 0,
        warm: bool = True,
    ) -> None:
        if not 1 <= execute <= horizon:
            raise UserError(f"execute must be at least 1 and at most horizon={horizon}, not {execute}")
        self.model, self.planner, self.cost, self.space = model, planner, cost, space
        self.horizon, self.execute, self.seed, self.warm = horizon, execute, seed, warm
        self.spec = model.actions
        self.plans: list[Plan] = []
        """All plans since the tasks began."""

    @torch.no_grad()
    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks."""
        self.goal = self._encoded(goal)[0]
        self.frames: list[Tensor] = []
        self.states: list[Tensor] = []
        self.done: list[Tensor] = []
        self.queue: list[Tensor] = []
        self.plans, self.evaluations, self.time = [], 0, 0

    @torch.no_grad()
    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action in each world; a new plan where the last one is used up. Only some models take the state."""
        part = self.time % self.spec.repeat
        if part == 0:
            x, self.pos = self._encoded(obs)
            self.frames = [*self.frames, x][-self.model.history :]
            if self.model.states and state is not None:
                self.states = [*self.states, torch.as_tensor(state, dtype=x.dtype)][-self.model.history :]
            if not self.queue:
                self._think()
            self.now = self.queue.pop(0)  # [B, W]
            self.done = [*self.done, self.now][-self.model.history :]
        self.time += 1
        acts = self.now[:, part * self.spec.dim : (part + 1) * self.spec.dim]
        return acts.numpy().astype(np.float64)

    def _think(self) -> None:
        seen = torch.stack(self.frames, 1)  # [B, T, n, D]
        between = self.done[len(self.done) - (len(self.frames) - 1) :] if len(self.frames) > 1 else []
        past = torch.stack(between, 1) if between else None
        states = torch.stack(self.states, 1) if self.states else None
        question = Question(Frames(seen, self.pos, states), self.goal, self.horizon, past, self._left_over())
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + len(self.plans))
        plan = self.planner.plan(self.model, question, self.cost, self.space, rng)
        self.plans.append(plan)
        self.evaluations += plan.evaluations
        self.queue = list(plan.actions[:, : self.execute].unbind(1))

    def _left_over(self) -> Tensor | None:
        if not self.warm or not self.plans:
            return None
        rest = self.plans[-1].actions[:, self.execute :]
        fill = self.plans[-1].actions[:, -1:].expand(-1, self.horizon - rest.shape[1], -1)
        return torch.cat([rest, fill], 1)

    def _encoded(self, obs: Shaped[ndarray, "B ..."]) -> tuple[Tensor, Tensor]:
        frames = self.model.encode(torch.from_numpy(np.ascontiguousarray(obs))[:, None])
        return frames.x[:, 0], frames.pos


@final
class Wanderer(Actor):
    """Acts at random: what a task gives away for nothing.

    Args:
        policy: how.
        low: least value of each number of an action.
        high: largest value of each.
        steps: the longest episode.
        seed: decides everything, together with the seeds of the tasks.
    """

    def __init__(
        self, policy: Wander, low: Float[ndarray, " A"], high: Float[ndarray, " A"], steps: int, seed: int = 0
    ) -> None:
        self.policy, self.low, self.high, self.steps, self.seed = policy, low, high, steps, seed

    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks."""
        seeds = np.array([task.seed for task in tasks], np.int64) * 31 + self.seed
        self.actions, self.time = self.policy.actions(seeds, self.steps, self.low, self.high), 0

    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action."""
        self.time += 1
        return self.actions[:, self.time - 1]


@final
class Expert(Actor):
    """Follows the shortest way: the best that can be done.

    Args:
        environment: the worlds that it acts in, which know the way.
    """

    def __init__(self, environment: Navigable) -> None:
        self.environment = environment

    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks."""
        self.goals = np.array([task.goal for task in tasks], np.float64)

    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action."""
        return self.environment.expert(self.goals)
