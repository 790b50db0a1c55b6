"""What a plan is to minimise: costs of imagined futures. All of them are differentiable in the actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, cast, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError, unknown
from worldjepa.world.model import Rollout

Metric = Literal["l2", "l1", "cosine"]
Reduce = Literal["last", "sum", "min"]


class Cost(nn.Module, ABC):
    """Judges candidates; lower is better."""

    @abstractmethod
    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The cost of each of the S candidates of each of the B tasks."""


def reduced(each: Float[Tensor, "B S H"], reduce: Reduce) -> Float[Tensor, "B S"]:
    """One number for all steps: the last one's, their mean (called `sum`: the same order), or the least."""
    if reduce == "last":
        return each[..., -1]
    return each.mean(-1) if reduce == "sum" else each.amin(-1)


def check_reduce(reduce: str) -> None:
    """Raise `UserError` unless this is one of `Reduce`."""
    if reduce not in get_args(Reduce):
        raise unknown("reduce", reduce, get_args(Reduce))


@final
class LatentDistance(Cost):
    """Distance between imagined states and the goal in representation space.

    Args:
        metric: mean squared or mean absolute difference over all features, or one minus the cosine.
        reduce: of the `last` step, the `sum` over all, or the `min`imum. The last one alone misleads where the horizon is
            longer than the way.
        project: brings states and goal into the space to compare in, such as the encoder of a level above.

    Raises:
        UserError: a name is not known.
    """

    def __init__(self, metric: Metric = "l2", reduce: Reduce = "sum", project: nn.Module | None = None) -> None:
        super().__init__()
        if metric not in get_args(Metric):
            raise unknown("metric", metric, get_args(Metric))
        check_reduce(reduce)
        self.metric, self.reduce, self.project = metric, reduce, project

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The distance of each candidate."""
        states, there = imagined.states, goal
        if self.project is not None:
            states, there = self.project(states), self.project(there)
        there = there[:, None, None]
        if self.metric == "cosine":
            each = 1 - F.cosine_similarity(states.flatten(-2), there.flatten(-2), dim=-1)
        elif self.metric == "l1":
            each = (states - there).abs().mean((-1, -2))
        else:
            each = (states - there).square().mean((-1, -2))
        return reduced(each, self.reduce)


@final
class Uncertainty(Cost):
    """How far the predictors of an ensemble lie apart, mean over steps: plans stay where the model knows its way."""

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The spread of each candidate.

        Raises:
            UserError: there is one predictor only.
        """
        if imagined.spread is None:
            raise UserError("uncertainty needs a world model with several predictors")
        return imagined.spread.mean(-1)


@final
class WeightedSum(Cost):
    """Several costs at once.

    Args:
        costs: the costs.
        weights: the factor of each.

    Raises:
        UserError: there are none, or not as many weights.
    """

    def __init__(self, costs: Sequence[Cost], weights: Sequence[float]) -> None:
        super().__init__()
        if not costs or len(costs) != len(weights):
            raise UserError(
                f"a weighted sum needs a weight for each of its costs: {len(costs)} costs, {len(weights)} weights"
            )
        self.costs, self.weights = nn.ModuleList(costs), [float(weight) for weight in weights]

    def weighing(self, weights: Sequence[float]) -> WeightedSum:
        """The same costs with other weights.

        Raises:
            UserError: there are not as many.
        """
        return WeightedSum([cast(Cost, cost) for cost in self.costs], weights)

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The weighted sum for each candidate."""
        parts = [weight * cost(imagined, goal) for cost, weight in zip(self.costs, self.weights, strict=True)]
        return torch.stack(parts).sum(0)
