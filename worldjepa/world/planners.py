"""Search for the actions that a cost likes best, in a model that is asked as seldom as possible. Batched over tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol, final

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost
from worldjepa.world.model import Frames, Rollout
from worldjepa.world.spaces import ActionSpace


class Imagines(Protocol):
    """What a planner asks of a model: a `WorldModel`, a level of a hierarchy, or somebody else's."""

    def rollout(
        self, history: Frames, actions: Float[Tensor, "B S H W"], past: Float[Tensor, "B P W"] | None = None
    ) -> Rollout:
        """Imagine all candidates."""


class Question(NamedTuple):
    """What is known and what is wanted, for B tasks."""

    history: Frames
    goal: Float[Tensor, "B n D"]
    horizon: int
    """Steps to plan, H."""
    past: Float[Tensor, "B P W"] | None = None
    """The actions between the frames of the history."""
    warm: Float[Tensor, "B H W"] | None = None
    """A plan to begin with, such as the last one without what was done."""
    proposals: Float[Tensor, "B P H W"] | None = None
    """More plans to begin with, such as those of a policy."""


class Plan(NamedTuple):
    """The best candidate that was found, one for each task, and what it took to find."""

    actions: Float[Tensor, "B H W"]
    states: Float[Tensor, "B H n D"]
    """What the model imagines of it: sub-goals, for a level below."""
    cost: Float[Tensor, " B"]
    evaluations: int
    """Steps that predictors took for each task. A gradient counts as the pass that it belongs to."""
    trace: list[float]
    """The best cost after each iteration, mean over tasks."""


class Planner(ABC):
    """Chooses actions. All randomness is taken from `rng`."""

    @abstractmethod
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once."""


class Best:
    """The best candidate so far of each task, and the account of evaluations."""

    def __init__(self, model: Imagines, question: Question, cost: Cost) -> None:
        self.model, self.question, self.cost = model, question, cost
        self.evaluations = 0
        self.trace: list[float] = []
        self.found: tuple[Tensor, Tensor, Tensor] | None = None

    def judge(self, candidates: Float[Tensor, "B S H W"]) -> Float[Tensor, "B S"]:
        """The costs of candidates; the best is remembered."""
        imagined = self.model.rollout(self.question.history, candidates, self.question.past)
        self.evaluations += imagined.evaluations
        costs: Tensor = self.cost(imagined, self.question.goal)
        least, index = costs.detach().min(1)
        rows = torch.arange(len(costs))
        new = (candidates.detach()[rows, index], imagined.states.detach()[rows, index], least)
        if self.found is None:
            self.found = new
        else:
            better = least < self.found[2]
            self.found = (
                torch.where(better[:, None, None], new[0], self.found[0]),
                torch.where(better[:, None, None, None], new[1], self.found[1]),
                torch.minimum(least, self.found[2]),
            )
        self.trace.append(float(self.found[2].mean()))
        return costs

    def plan(self) -> Plan:
        """What came of it."""
        assert self.found is not None
        return Plan(*self.found, self.evaluations, self.trace)


def population(question: Question, space: ActionSpace, samples: int, rng: torch.Generator) -> Float[Tensor, "B S H W"]:
    """The first candidates; plans to begin with take the places of the first ones.

    Raises:
        UserError: there are more of them than candidates.
    """
    drawn = space.sample((len(question.goal), samples, question.horizon), rng)
    given = [] if question.warm is None else [question.warm[:, None]]
    given += [] if question.proposals is None else [question.proposals]
    if given:
        first = space.clip(torch.cat(given, 1))
        if first.shape[1] > samples:
            raise UserError(f"{first.shape[1]} plans to begin with do not fit among {samples} samples")
        drawn[:, : first.shape[1]] = first
    return drawn


def elite_count(samples: int, elites: int) -> int:
    """Return `elites`.

    Raises:
        UserError: there are fewer than two, or more than samples.
    """
    if not 2 <= elites <= samples:
        raise UserError(f"elites must be at least 2 and at most the {samples} samples, not {elites}")
    return elites


def at_least_one(**numbers: int) -> None:
    """Raise `UserError` unless all numbers are 1 or more."""
    wrong = [f"{name}={value}" for name, value in numbers.items() if value < 1]
    if wrong:
        raise UserError(f"must be at least 1: {', '.join(wrong)}")


@final
class RandomShooting(Planner):
    """Draws candidates and takes the best.

    Args:
        samples: how many for each task.
    """

    def __init__(self, samples: int = 512) -> None:
        at_least_one(samples=samples)
        self.samples = samples

    @torch.no_grad()
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once."""
        best = Best(model, question, cost)
        best.judge(population(question, space, self.samples, rng))
        return best.plan()


@final
class CEM(Planner):
    """The cross-entropy method: draws candidates around the mean of the best ones, again and again.

    Args:
        samples: candidates of an iteration.
        iterations: how many.
        elites: how many of the best count.
        momentum: share of the old mean and deviation that is kept.
        least: deviation that is kept at least, as a share of half the space.

    Source: Rubinstein, 1999.
    """

    def __init__(
        self, samples: int = 128, iterations: int = 4, elites: int = 16, momentum: float = 0.1, least: float = 0.05
    ) -> None:
        at_least_one(samples=samples, iterations=iterations)
        if not 0 <= momentum < 1 or least < 0:
            raise UserError(f"momentum must be in [0, 1) and least not negative: momentum={momentum}, least={least}")
        self.samples, self.iterations, self.momentum, self.least = samples, iterations, momentum, least
        self.elites = elite_count(samples, elites)

    @torch.no_grad()
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once."""
        best = Best(model, question, cost)
        candidates = population(question, space, self.samples, rng)
        mean = std = None
        least = self.least * space.half
        for iteration in range(self.iterations):
            costs = best.judge(candidates)
            if iteration == self.iterations - 1:
                break
            chosen = costs.topk(self.elites, 1, largest=False).indices  # [B, E]
            elites = candidates[torch.arange(len(costs))[:, None], chosen]  # [B, E, H, W]
            new_mean, new_std = elites.mean(1), elites.std(1)
            if mean is not None and std is not None:
                new_mean = self.momentum * mean + (1 - self.momentum) * new_mean
                new_std = self.momentum * std + (1 - self.momentum) * new_std
            mean, std = new_mean, torch.maximum(new_std, least)
            noise = torch.randn(candidates.shape, generator=rng)
            candidates = space.clip(mean[:, None] + std[:, None] * noise)
            candidates[:, 0] = space.clip(mean)
        return best.plan()


@final
class MPPI(Planner):
    """Model predictive path integral control: the mean of all candidates, weighted by the exponential of minus their cost.

    Args:
        samples: candidates of an iteration.
        iterations: how many.
        temperature: cost differences, in units of the candidates' standard deviation, that make a factor of e.
        noise: deviation of candidates around the mean, as a share of half the space; halved from the first iteration to the
            last.

    Source: Williams et al. (arXiv 1509.01149).
    """

    def __init__(self, samples: int = 128, iterations: int = 4, temperature: float = 0.2, noise: float = 0.5) -> None:
        at_least_one(samples=samples, iterations=iterations)
        if temperature <= 0 or noise <= 0:
            raise UserError(f"temperature and noise must be positive: temperature={temperature}, noise={noise}")
        self.samples, self.iterations, self.temperature, self.noise = samples, iterations, temperature, noise

    @torch.no_grad()
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once."""
        best = Best(model, question, cost)
        candidates = population(question, space, self.samples, rng)
        for iteration in range(self.iterations):
            costs = best.judge(candidates)
            if iteration == self.iterations - 1:
                break
            scale = costs.std(1, keepdim=True).clamp_min(1e-9) if self.samples > 1 else torch.ones_like(costs)
            weights = torch.softmax(-(costs - costs.amin(1, keepdim=True)) / (self.temperature * scale), 1)  # [B, S]
            mean = (weights[..., None, None] * candidates).sum(1)  # [B, H, W]
            share = self.noise * 0.5 ** (iteration / max(1, self.iterations - 1))
            deviation = share * space.half
            candidates = space.clip(mean[:, None] + deviation * torch.randn(candidates.shape, generator=rng))
            candidates[:, 0] = mean
        return best.plan()


@final
class Gradient(Planner):
    """Follows the gradient of the cost through the model, from several starts.

    Args:
        samples: starts for each task.
        steps: steps of Adam.
        lr: length of a step, as a share of half the space.

    Source: UPN (arXiv 1804.00645); H-JEPA (arXiv 2610.06805) plans all of its levels so.
    """

    def __init__(self, samples: int = 32, steps: int = 30, lr: float = 0.1) -> None:
        at_least_one(samples=samples, steps=steps)
        if lr <= 0:
            raise UserError(f"lr must be positive, not {lr}")
        self.samples, self.steps, self.lr = samples, steps, lr

    @torch.enable_grad()
    def plan(self, model: Imagines, question: Question, cost: Cost, space: ActionSpace, rng: torch.Generator) -> Plan:
        """Plan for all tasks at once."""
        best = Best(model, question, cost)
        middle, half = space.middle, space.half
        # In units of half the space, so that one length of step suits all numbers.
        low, high = (space.low - middle) / half, (space.high - middle) / half
        unit = ((population(question, space, self.samples, rng) - middle) / half).requires_grad_()
        optimizer = torch.optim.Adam([unit], lr=self.lr)
        for step in range(self.steps):
            costs = best.judge(middle + half * unit)
            if step == self.steps - 1:
                break
            (unit.grad,) = torch.autograd.grad(costs.sum(), unit)
            optimizer.step()
            with torch.no_grad():
                unit.clamp_(low, high)
        return best.plan()
