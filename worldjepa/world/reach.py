"""How far away a state is, in steps rather than in representation space: a small network that learns it from episodes."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost, Reduce, check_reduce, reduced
from worldjepa.world.model import Rollout


@final
class Reachability(Cost):
    """The logarithm of one plus the number of steps from one state to another, as a network on both and their difference.

    It is fitted to pairs of states of the same episode. Episodes wander, so most gaps are longer than need be; the fit is
    therefore a low expectile, which leans towards the shortest.

    Args:
        dim: width of a frame, n times D.
        hidden: width of the two hidden layers.
        reduce: see `LatentDistance`.

    Source: the idea of TRM (arXiv 2605.22164): the distance of representations misleads, steps do not.
    """

    def __init__(self, dim: int, hidden: int = 128, reduce: Reduce = "sum") -> None:
        super().__init__()
        check_reduce(reduce)
        self.reduce = reduce
        self.net = nn.Sequential(
            *(nn.Linear(3 * dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
        )

    def log_steps(self, here: Float[Tensor, "*b n D"], there: Float[Tensor, "*b n D"]) -> Float[Tensor, "*b"]:
        """The expected logarithm of one plus the number of steps from here to there."""
        a, b = here.flatten(-2), there.flatten(-2)
        steps: Tensor = self.net(torch.cat([a, b, (a - b).abs()], -1))[..., 0]
        return steps

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The expected logarithm of the steps that are left."""
        there = goal[:, None, None].expand_as(imagined.states)
        return reduced(self.log_steps(imagined.states, there), self.reduce)

    def fit(
        self,
        states: Float[Tensor, "E T n D"],
        rng: torch.Generator,
        steps: int = 1500,
        batch: int = 512,
        expectile: float = 0.1,
        lr: float = 2e-3,
    ) -> list[float]:
        """Learn from the encoded frames of episodes; returns the loss of every step.

        Gaps are drawn log-uniformly up to the whole length. An eighth of the pairs joins states of different episodes, told
        to be twice as far apart as an episode is long.

        Raises:
            UserError: there are no two episodes of two frames, or the expectile is not in (0, 1).
        """
        e, t = states.shape[:2]
        if e < 2 or t < 2 or not 0 < expectile < 1:
            raise UserError(
                f"reachability needs 2 episodes of 2 frames and an expectile in (0, 1): {e}, {t}, {expectile}"
            )
        optimizer = torch.optim.AdamW(self.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = []
        for _ in range(steps):
            u = torch.rand(4, batch, generator=rng)
            gap = (t ** u[0]).long().clamp(1, t - 1)
            start = (u[1] * (t - gap)).long()
            episode, other = (u[2] * e).long(), (u[3] * e).long()
            apart = torch.arange(batch) < batch // 8
            goal = torch.where(apart, other, episode)
            known = torch.where(apart & (other != episode), torch.tensor(2 * t), gap).to(states.dtype)
            told = self.log_steps(states[episode, start], states[goal, start + gap])
            error = torch.log1p(known) - told
            loss = (torch.where(error > 0, expectile, 1 - expectile) * error.square()).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        return losses
