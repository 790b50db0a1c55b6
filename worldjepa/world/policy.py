"""A policy: what to do at once, without imagining anything; learned from what was planned before."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.model import Frames
from worldjepa.world.planners import Imagines, at_least_one

NARROWEST, WIDEST = -4.0, 0.0
"""Bounds of the logarithm of a deviation, in units of half the range of actions."""


class Inclination(NamedTuple):
    """A normal distribution of actions."""

    mean: Float[Tensor, "*b W"]
    std: Float[Tensor, "*b W"]


class Proposals(NamedTuple):
    """Plans to begin a search with, and what it took to make them."""

    actions: Float[Tensor, "B P H W"]
    evaluations: int
    """Steps that predictors took for each task."""


class Lessons(NamedTuple):
    """What was done where, and what for."""

    states: Float[Tensor, "N n D"]
    goals: Float[Tensor, "N n D"]
    actions: Float[Tensor, "N W"]


def executed(memory: ShortTermMemory, goal: Float[Tensor, "B n D"]) -> Lessons:
    """All that a memory holds as lessons: the states of all tasks but the newest, and the actions that left them.

    Raises:
        UserError: nothing was done yet.
    """
    states, between = memory.context(memory.capacity)
    if between is None:
        raise UserError("nothing was done yet that could be learned from")
    goals = goal[:, None].expand(-1, between.shape[1], -1, -1)
    return Lessons(states[:, :-1].flatten(0, 1), goals.flatten(0, 1), between.flatten(0, 1))


@final
class Policy(nn.Module):
    """A network that tells from a state and a goal what to do, and how sure that is.

    Args:
        dim: width of a frame, n times D.
        low: least value of each number of an action.
        high: largest value of each.
        hidden: width of the two hidden layers.

    Raises:
        UserError: the bounds are the wrong way round.

    Source: LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.1: the policy module of mode 1, trained
    by what mode 2 plans.
    """

    low: Tensor
    high: Tensor

    def __init__(self, dim: int, low: Float[Tensor, " W"], high: Float[Tensor, " W"], hidden: int = 128) -> None:
        super().__init__()
        if not bool((low < high).all()):
            raise UserError(f"a policy needs low < high: low={low.tolist()}, high={high.tolist()}")
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        layers = [nn.Linear(3 * dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 2 * len(low)))

    def forward(self, states: Float[Tensor, "*b n D"], goals: Float[Tensor, "*b n D"]) -> Inclination:
        """What to do in states, for goals."""
        a, b = states.flatten(-2), goals.flatten(-2)
        told = self.net(torch.cat([a, b, b - a], -1))
        raw, spread = told.chunk(2, -1)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return Inclination(middle + half * raw.tanh(), half * spread.clamp(NARROWEST, WIDEST).exp())

    @torch.no_grad()
    def propose(
        self,
        model: Imagines,
        history: Frames,
        goal: Float[Tensor, "B n D"],
        count: int,
        horizon: int,
        rng: torch.Generator,
        past: Float[Tensor, "B P W"] | None = None,
    ) -> Proposals:
        """Follow the policy in imagination, several times for each task: once without and otherwise with its noise.

        Args:
            model: imagines where actions lead.
            history: at least one frame.
            goal: what for.
            count: proposals for each task.
            horizon: steps of each.
            rng: draws the noise.
            past: the actions between the frames of the history.

        Raises:
            UserError: a number is not positive.
        """
        at_least_one(proposals=count, horizon=horizon)
        b, evaluations = len(goal), 0
        frames, there = history.x.repeat_interleave(count, 0), goal.repeat_interleave(count, 0)
        done = there.new_zeros(len(there), 0, len(self.low)) if past is None else past.repeat_interleave(count, 0)
        made = []
        for step in range(horizon):
            mean, std = self(frames[:, -1], there)  # [B*P, W]
            noise = torch.randn(b, count, len(self.low), generator=rng)
            noise[:, 0] = 0
            acting = torch.minimum(torch.maximum(mean + std * noise.flatten(0, 1), self.low), self.high)
            made.append(acting.view(b, count, -1))
            if step == horizon - 1:
                break
            imagined = model.rollout(Frames(frames, history.pos), acting[:, None, None], done)
            evaluations += count * imagined.evaluations
            frames, done = torch.cat([frames, imagined.states[:, 0]], 1), torch.cat([done, acting[:, None]], 1)
        return Proposals(torch.stack(made, 2), evaluations)

    @torch.enable_grad()
    def distill(
        self, lessons: Lessons, rng: torch.Generator, steps: int = 500, batch: int = 256, lr: float = 2e-3
    ) -> list[float]:
        """Learn to do at once what was found by planning; returns the loss of every step, a negative log-likelihood.

        Raises:
            UserError: there are no lessons, or a number is not positive.
        """
        at_least_one(lessons=len(lessons.states), steps=steps, batch=batch)
        optimizer = torch.optim.AdamW(self.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        half, losses = (self.high - self.low) / 2, []
        for _ in range(steps):
            some = torch.randint(len(lessons.states), (batch,), generator=rng)
            mean, std = self(lessons.states[some], lessons.goals[some])
            loss = F.gaussian_nll_loss(mean / half, lessons.actions[some] / half, (std / half).square())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        return losses
