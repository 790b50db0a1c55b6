"""Who acts: an agent that plans, a policy that does not, and the two that they are measured beside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.configurator import Configuration, Configurator, Situation
from worldjepa.world.costs import Cost, WeightedSum
from worldjepa.world.environment import Navigable, Task
from worldjepa.world.groups import Part, lengthened, merged, of_tasks
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.model import Frames, WorldModel
from worldjepa.world.planners import Plan, Planner, Question
from worldjepa.world.policy import Policy
from worldjepa.world.spaces import ActionSpace


class Actor(ABC):
    """Acts in B worlds at once."""

    evaluations: int | Int64[ndarray, " B"] = 0
    """Steps that predictors have taken so far, for each task."""

    @abstractmethod
    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks: what is observed now, and what would be observed at the goals."""

    def rest(self, over: Bool[ndarray, " B"]) -> None:
        """Be told which tasks are over: what is done there no longer matters."""
        self.over = over.copy()

    @abstractmethod
    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action in each world, from what is observed and what the world tells of itself besides."""


@final
class Agent(Actor):
    """Plans with a world model, carries out the beginning of the plan, and plans again.

    Every observation is encoded once, when it comes, and remembered. Where the model skips frames, only every `repeat`-th is
    looked at. Tasks that are over are planned for no more. A policy proposes plans to begin with; a configurator may let it act
    by itself, and say how others are searched.

    Args:
        model: the world model.
        planner: searches.
        cost: judges.
        space: where candidates come from.
        horizon: steps of the model to plan.
        execute: how many of them are carried out before the next plan.
        seed: decides all that is random; together with the number of the plan.
        warm: begin each search with what is left of the last plan.
        remember: moments that its memory holds; by default those that the model looks back at.
        policy: proposes, and acts at once where the configurator says so.
        proposals: how many plans of the policy each search begins with.
        configurator: chooses planner, horizon and weights of costs for each task whenever a plan is due; by default those
            given here serve all of them.
        budget: steps that an episode may take, for the configurator.

    Raises:
        UserError: more is to be carried out than is planned, less is to be remembered than the model looks back at, or there
            are proposals without a policy.
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
        remember: int | None = None,
        policy: Policy | None = None,
        proposals: int = 0,
        configurator: Configurator | None = None,
        budget: int | None = None,
    ) -> None:
        if not 1 <= execute <= horizon:
            raise UserError(f"execute must be at least 1 and at most horizon={horizon}, not {execute}")
        if remember is not None and remember < model.history:
            raise UserError(
                f"remember must be at least the {model.history} frames of the model's history, not {remember}"
            )
        if proposals < 0 or (proposals and policy is None):
            raise UserError(f"proposals={proposals}: must not be negative, and plans are proposed by a policy")
        self.model, self.planner, self.cost, self.space = model, planner, cost, space
        self.horizon, self.execute, self.seed, self.warm = horizon, execute, seed, warm
        self.remember = remember or model.history
        self.policy, self.proposals, self.configurator, self.budget = policy, proposals, configurator, budget
        self.spec = model.actions
        self.plans: list[Plan] = []
        """All plans since the tasks began. Where the policy acts, a plan stands still and its cost is not a number."""

    @torch.no_grad()
    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks."""
        self.goal = self._encoded(goal)[0]
        self.memory = ShortTermMemory(self.remember)
        self.states: list[Tensor] = []
        self.queue: list[Tensor] = []
        self.now: Tensor | None = None
        self.acting = torch.zeros(len(self.goal), dtype=torch.bool)
        """Where the policy acts."""
        self.over = np.zeros(len(self.goal), bool)
        self.plans, self.time = [], 0
        self.evaluations = np.zeros(len(self.goal), np.int64)

    @torch.no_grad()
    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action in each world; a new plan where the last one is used up. Only some models take the state."""
        part = self.time % self.spec.repeat
        if part == 0:
            x, self.pos = self._encoded(obs)
            self.memory.write(x, self.now)
            if self.model.states and state is not None:
                self.states = [*self.states, torch.as_tensor(state, dtype=x.dtype)][-self.model.history :]
            if not self.queue:
                self._think()
            self.now = self._at_once(x, self.queue.pop(0))
        assert self.now is not None
        self.time += 1
        acts = self.now[:, part * self.spec.dim : (part + 1) * self.spec.dim]
        return acts.numpy().astype(np.float64)

    def _think(self) -> None:
        """Plan for all tasks; those that are configured alike together."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + len(self.plans))
        groups: dict[Configuration, list[int]] = {}
        for row, chosen in enumerate(self._configured()):
            if not self.over[row]:
                groups.setdefault(chosen, []).append(row)
        self.acting = torch.zeros_like(self.acting)
        parts = [Part(rows, self._planned(chosen, rows, rng)) for chosen, rows in groups.items()]
        over = np.flatnonzero(self.over).tolist()
        if over:
            parts.append(Part(over, self._still(over)))
        for part in parts:
            self.evaluations[part.rows] += part.plan.evaluations  # type: ignore[index]
        plan = merged(parts, max([self.execute, *(chosen.horizon for chosen in groups)]))
        self.plans.append(plan)
        self.queue = list(plan.actions[:, : self.execute].unbind(1))

    def _still(self, rows: list[int]) -> Plan:
        """What stands for a plan where nothing matters any more."""
        present = self.memory.context(1)[0][rows]  # [R, 1, n, D]
        return Plan(torch.zeros(len(rows), 1, self.spec.width), present, torch.full((len(rows),), torch.nan), 0, [])

    def _configured(self) -> list[Configuration]:
        if self.configurator is None:
            return [Configuration(self.planner, self.horizon)] * len(self.goal)
        steps = None if self.budget is None else max(1, -(-(self.budget - self.time) // self.spec.repeat))
        return self.configurator.configure(Situation(self.memory, self.goal, steps))

    def _planned(self, chosen: Configuration, rows: list[int], rng: torch.Generator) -> Plan:
        seen, past = self.memory.context(self.model.history)
        states = torch.stack(self.states, 1) if self.states else None
        whole = Question(
            Frames(seen, self.pos, states), self.goal, chosen.horizon, past, self._left_over(chosen.horizon)
        )
        asked, spent = of_tasks(whole, rows), 0
        if chosen.planner is None:
            return self._not_planned(asked, rows)
        if self.policy is not None and self.proposals:
            begun = self.policy.propose(
                self.model, asked.history, asked.goal, self.proposals, chosen.horizon, rng, asked.past
            )
            asked, spent = asked._replace(proposals=begun.actions), begun.evaluations
        plan = chosen.planner.plan(self.model, asked, self._weighing(chosen.weights), self.space, rng)
        return plan._replace(evaluations=plan.evaluations + spent)

    def _not_planned(self, asked: Question, rows: list[int]) -> Plan:
        """What stands for a plan where the policy acts."""
        if self.policy is None:
            raise UserError("acting without a plan needs a policy")
        self.acting[rows] = True
        present = asked.history.x[:, -1:]
        action = self.policy(present[:, 0], asked.goal).mean[:, None]
        return Plan(action, present, torch.full((len(rows),), torch.nan), 0, [])

    def _at_once(self, x: Float[Tensor, "B n D"], planned: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
        """What was planned, and where the policy acts what it would do now."""
        if self.policy is None or not bool(self.acting.any()):
            return planned
        return torch.where(self.acting[:, None], self.policy(x, self.goal).mean, planned)

    def _weighing(self, weights: tuple[float, ...] | None) -> Cost:
        if weights is None:
            return self.cost
        if not isinstance(self.cost, WeightedSum):
            raise UserError(f"weights are for the costs of a WeightedSum, not for a {type(self.cost).__name__}")
        return self.cost.weighing(weights)

    def _left_over(self, horizon: int) -> Tensor | None:
        if not self.warm or not self.plans:
            return None
        last = self.plans[-1].actions
        return lengthened(torch.cat([last[:, self.execute :], last[:, -1:]], 1), horizon)

    def _encoded(self, obs: Shaped[ndarray, "B ..."]) -> tuple[Tensor, Tensor]:
        frames = self.model.encode(torch.from_numpy(np.ascontiguousarray(obs))[:, None])
        return frames.x[:, 0], frames.pos


@final
class Reactive(Actor):
    """Does at once what a policy says (mode 1): nothing is imagined.

    Args:
        model: its encoder tells the states. Where it skips frames, only every `repeat`-th is looked at.
        policy: says what to do.
    """

    def __init__(self, model: WorldModel, policy: Policy) -> None:
        self.model, self.policy, self.spec = model, policy, model.actions

    @torch.no_grad()
    def begin(self, tasks: list[Task], obs: Shaped[ndarray, "B ..."], goal: Shaped[ndarray, "B ..."]) -> None:
        """Begin tasks."""
        self.goal, self.time = self._encoded(goal), 0

    @torch.no_grad()
    def act(self, obs: Shaped[ndarray, "B ..."], state: Float[ndarray, "B S"] | None = None) -> Float[ndarray, "B A"]:
        """The next action in each world."""
        part = self.time % self.spec.repeat
        if part == 0:
            self.now: Tensor = self.policy(self._encoded(obs), self.goal).mean
        self.time += 1
        acts = self.now[:, part * self.spec.dim : (part + 1) * self.spec.dim]
        return acts.numpy().astype(np.float64)

    def _encoded(self, obs: Shaped[ndarray, "B ..."]) -> Tensor:
        return self.model.encode(torch.from_numpy(np.ascontiguousarray(obs))[:, None]).x[:, 0]


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
