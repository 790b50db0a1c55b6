"""A cost that is learned: what the intrinsic cost will be in the future, told from memory."""

from __future__ import annotations

import copy
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost, Reduce, check_reduce, reduced
from worldjepa.world.model import Rollout


@final
class Critic(Cost):
    """The discounted sum of the costs that come after a state, as a network on the state.

    The cost of the state itself is not part of it: an `IntrinsicCost` of all steps and a critic of the last one add up to the
    whole future and count nothing twice.

    Args:
        dim: width of a frame, n times D.
        hidden: width of the two hidden layers.
        discount: what a cost is worth one step later.
        reduce: see `LatentDistance`; by default only the end of a plan is judged.

    Raises:
        UserError: the discount is not in [0, 1), or a name is not known.

    Source: LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.3: the trainable critic.
    """

    def __init__(self, dim: int, hidden: int = 128, discount: float = 0.95, reduce: Reduce = "last") -> None:
        super().__init__()
        check_reduce(reduce)
        if not 0 <= discount < 1:
            raise UserError(f"discount must be in [0, 1), not {discount}")
        self.discount, self.reduce = discount, reduce
        self.net = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
        )

    def value(self, states: Float[Tensor, "*b n D"]) -> Float[Tensor, "*b"]:
        """The discounted sum of the costs that are expected after each state."""
        told: Tensor = self.net(states.flatten(-2))[..., 0]
        return told

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """What each candidate leaves to come."""
        return reduced(self.value(imagined.states), self.reduce)

    def fit(
        self,
        states: Float[Tensor, "E T n D"],
        costs: Float[Tensor, "E T"],
        rng: torch.Generator,
        ended: Bool[Tensor, " E"] | None = None,
        steps: int = 500,
        batch: int = 32,
        trace: float = 0.9,
        follow: float = 0.05,
        lr: float = 2e-3,
    ) -> list[float]:
        """Learn from the states of episodes and what each of them cost; returns the loss of every step.

        Args:
            states: encoded frames, such as a memory holds.
            costs: the intrinsic cost of each.
            rng: draws the episodes of a step.
            ended: which episodes are over for good, so that nothing comes after their last state. What comes after the last
                state of the others is what the critic itself expects.
            steps: steps of Adam.
            batch: episodes in each.
            trace: how far a target trusts what really came, see `returns`: 0 for temporal differences, 1 for Monte Carlo.
            follow: share by which the slow copy, which targets are taken from, follows in each step.
            lr: learning rate.

        Raises:
            UserError: there are no episodes of two states, or a number is out of its range.
        """
        e, t = states.shape[:2]
        if e < 1 or t < 2 or not 0 <= trace <= 1 or not 0 < follow <= 1:
            raise UserError(
                f"a critic needs an episode of 2 states, trace in [0, 1] and follow in (0, 1]: episodes={e}, states={t}, "
                f"trace={trace}, follow={follow}"
            )
        over = torch.zeros(e, dtype=torch.bool) if ended is None else ended
        slow = copy.deepcopy(self).requires_grad_(False)
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = []
        for _ in range(steps):
            some = torch.randint(e, (min(batch, e),), generator=rng)
            target = returns(slow.value(states[some]), costs[some], over[some], self.discount, trace)
            loss = (self.value(states[some, :-1]) - target).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(slow.parameters()), list(self.parameters()), follow)
            losses.append(float(loss.detach()))
        return losses


def returns(
    values: Float[Tensor, "E T"], costs: Float[Tensor, "E T"], ended: Bool[Tensor, " E"], discount: float, trace: float
) -> Float[Tensor, "E T-1"]:
    """What is to be expected after every state but the last: the next cost, and discounted what comes after that.

    The latter is the next state's value to the share `1 - trace`, and for the rest its own return.

    Source: the λ-return of Sutton (1988).
    """
    after = torch.where(ended, 0.0, values[:, -1])
    found = [after]
    for time in range(values.shape[1] - 2, -1, -1):
        last = time == values.shape[1] - 2
        known = after if last else (1 - trace) * values[:, time + 1] + trace * found[-1]
        found.append(costs[:, time + 1] + discount * known)
    return torch.stack(found[:0:-1], 1)
