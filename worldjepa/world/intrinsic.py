"""Costs that are built in: what acting costs, what is not allowed, and what states are like whatever the goal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost, Reduce, check_reduce, reduced
from worldjepa.world.model import Rollout


@final
class ActionPenalty(Cost):
    """What acting costs: the mean square of the actions' numbers, in units of `scale`.

    Args:
        scale: an action of this size costs 1; one number, or one for each of an action's.

    Raises:
        UserError: the scale is not positive.
    """

    scale: Tensor | float

    def __init__(self, scale: Float[Tensor, " W"] | float = 1.0) -> None:
        super().__init__()
        if not bool((scale > 0).all() if isinstance(scale, Tensor) else scale > 0):
            raise UserError(f"the scale of an action penalty must be positive, not {scale}")
        if isinstance(scale, Tensor):
            self.register_buffer("scale", scale.clone())
        else:
            self.scale = float(scale)

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The penalty of each candidate."""
        return (imagined.actions / self.scale).square().mean((-1, -2))


@final
class Constraint(Cost):
    """A bound that plans should keep: `g <= 0` in every step. What exceeds it costs as much, mean over steps; the rest nothing.

    Args:
        g: says of imagined futures by how much each of their steps exceeds the bound.
    """

    def __init__(self, g: Callable[[Rollout], Float[Tensor, "B S H"]]) -> None:
        super().__init__()
        self.g = g

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The excess of each candidate."""
        return self.g(imagined).clamp_min(0).mean(-1)


@final
class IntrinsicCost(Cost):
    """How bad a state is, whatever the goal: pain, hunger, a low battery. Nothing that is learned later changes it.

    A network is copied and frozen, so that nobody who trains the original, or this, can make the agent like what it dislikes.
    Gradients still reach the states.

    Args:
        of: the cost of states `[*b, n, D]`, as `[*b]`.
        reduce: see `LatentDistance`.

    Raises:
        UserError: a name is not known.

    Source: LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3.2: the hard-wired intrinsic cost.
    """

    def __init__(self, of: Callable[[Float[Tensor, "*b n D"]], Float[Tensor, "*b"]], reduce: Reduce = "sum") -> None:
        super().__init__()
        check_reduce(reduce)
        self.reduce = reduce
        self.of = copy.deepcopy(of).eval().requires_grad_(False) if isinstance(of, nn.Module) else of

    def train(self, mode: bool = True) -> IntrinsicCost:
        """Nothing: it is never trained."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> IntrinsicCost:
        """Nothing: it is never trained."""
        return self

    def at(self, states: Float[Tensor, "*b n D"]) -> Float[Tensor, "*b"]:
        """The cost of states."""
        return self.of(states)

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The cost of each candidate."""
        return reduced(self.at(imagined.states), self.reduce)
