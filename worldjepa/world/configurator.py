"""The executive: says for every task how much thought it deserves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, final

from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.planners import Planner, at_least_one


class Situation(NamedTuple):
    """What is known when an agent is about to think, for B tasks."""

    memory: ShortTermMemory
    """What was met; its newest state is the present one."""
    goal: Float[Tensor, "B n D"]
    left: int | None
    """Steps of the model that are left, at least 1; None where nobody said."""


class Configuration(NamedTuple):
    """How a task is gone about until the next thought. Tasks that are configured alike are planned together."""

    planner: Planner | None
    """Who searches (mode 2); None leaves it to the policy to act at once (mode 1)."""
    horizon: int
    """Steps to plan."""
    weights: tuple[float, ...] | None = None
    """Weights of the costs of a `WeightedSum`; None leaves them as they are."""


class Configurator(ABC):
    """Sets the other modules for what is to be done.

    Source: LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3: the configurator.
    """

    @abstractmethod
    def configure(self, situation: Situation) -> list[Configuration]:
        """The configuration of each of the B tasks; it depends on that task alone."""


@final
class RuleConfigurator(Configurator):
    """Rules: near the goal the policy acts, elsewhere a plan is made, no longer than there is time; who is stuck thinks harder.

    A task is stuck where its distance to the goal has not shrunk by the share `progress` over the last `patience` states. That
    needs an agent that remembers more than `patience` states. Distances are mean squared ones in representation space.

    Args:
        planner: searches.
        horizon: steps of the model to plan at most.
        near: distance up to which the policy acts; 0 for never.
        patience: states over which progress is judged.
        progress: share of the distance that is expected to be gone by then.
        thorough: searches where a task is stuck; by default `planner`.
        weights: weights of the costs.
        stuck_weights: weights of the costs where a task is stuck; by default `weights`.

    Raises:
        UserError: a number is out of its range.
    """

    def __init__(
        self,
        planner: Planner,
        horizon: int = 12,
        near: float = 0.0,
        patience: int = 8,
        progress: float = 0.1,
        thorough: Planner | None = None,
        weights: Sequence[float] | None = None,
        stuck_weights: Sequence[float] | None = None,
    ) -> None:
        at_least_one(horizon=horizon, patience=patience)
        if near < 0 or not 0 <= progress < 1:
            raise UserError(f"near must not be negative and progress be in [0, 1): near={near}, progress={progress}")
        self.horizon, self.near, self.patience, self.progress = horizon, near, patience, progress
        self.planners = (planner, thorough or planner)
        usual = None if weights is None else tuple(map(float, weights))
        self.weights = (usual, usual if stuck_weights is None else tuple(map(float, stuck_weights)))

    def configure(self, situation: Situation) -> list[Configuration]:
        """The configuration of each task.

        Raises:
            UserError: the agent forgets too soon to tell who is stuck.
        """
        if situation.memory.capacity <= self.patience:
            raise UserError(
                f"patience={self.patience} needs an agent that remembers {self.patience + 1} states or more, not "
                f"{situation.memory.capacity}: see remember"
            )
        states, _ = situation.memory.context(self.patience + 1)
        apart = (states - situation.goal[:, None]).square().mean((-1, -2))  # [B, T]
        horizon = self.horizon if situation.left is None else min(self.horizon, situation.left)
        long_ago = apart.shape[1] > self.patience
        found = []
        for first, now in zip(apart[:, 0].tolist(), apart[:, -1].tolist(), strict=True):
            stuck = long_ago and now > (1 - self.progress) * first
            planner = None if now < self.near and not stuck else self.planners[stuck]
            found.append(Configuration(planner, horizon, self.weights[stuck]))
        return found
