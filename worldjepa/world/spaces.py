"""Where candidates come from: a box, a normal distribution, or stretches of actions that were really done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError


class ActionSpace(ABC):
    """Draws candidates and keeps what a planner makes of them within bounds."""

    low: Float[Tensor, " W"]
    high: Float[Tensor, " W"]

    @property
    def middle(self) -> Float[Tensor, " W"]:
        """Where the space has its middle."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Float[Tensor, " W"]:
        """How far it reaches from there: what planners measure noise and steps by. Unlike the bounds it is always finite."""
        return (self.high - self.low) / 2

    @abstractmethod
    def sample(self, shape: tuple[int, int, int], rng: torch.Generator) -> Float[Tensor, "B S H W"]:
        """Candidates for B tasks, S for each, of H steps."""

    def clip(self, actions: Float[Tensor, "*b W"]) -> Float[Tensor, "*b W"]:
        """The nearest actions within the bounds."""
        return torch.minimum(torch.maximum(actions, self.low), self.high)


@final
class Box(ActionSpace):
    """Uniform between bounds.

    Args:
        low: least value of each number.
        high: largest value of each.
        hold: an action is drawn for so many steps at once, so that long candidates lead somewhere.

    Raises:
        UserError: bounds are the wrong way round, or `hold` is not positive.
    """

    def __init__(self, low: Float[Tensor, " W"], high: Float[Tensor, " W"], hold: int = 1) -> None:
        if not bool((low < high).all()) or hold < 1:
            raise UserError(
                f"a box needs low < high and hold >= 1: low={low.tolist()}, high={high.tolist()}, hold={hold}"
            )
        self.low, self.high, self.hold = low, high, hold

    def sample(self, shape: tuple[int, int, int], rng: torch.Generator) -> Float[Tensor, "B S H W"]:
        """Draw candidates."""
        b, s, h = shape
        u = torch.rand(b, s, -(-h // self.hold), len(self.low), generator=rng)
        return self.low + u.repeat_interleave(self.hold, 2)[:, :, :h] * (self.high - self.low)


@final
class Gaussian(ActionSpace):
    """Normal around a mean, cut off at bounds where there are any.

    Args:
        mean: mean of each number.
        std: standard deviation of each.
        low: least value of each number; by default there is none.
        high: largest value of each; by default there is none.
        hold: an action is drawn for so many steps at once.

    Raises:
        UserError: a deviation or `hold` is not positive, or bounds are the wrong way round.
    """

    def __init__(
        self,
        mean: Float[Tensor, " W"],
        std: Float[Tensor, " W"],
        low: Float[Tensor, " W"] | None = None,
        high: Float[Tensor, " W"] | None = None,
        hold: int = 1,
    ) -> None:
        self.mean, self.std, self.hold = mean, std, hold
        self.low = torch.full_like(mean, -torch.inf) if low is None else low
        self.high = torch.full_like(mean, torch.inf) if high is None else high
        if not bool((std > 0).all()) or not bool((self.low < self.high).all()) or hold < 1:
            raise UserError(
                f"a normal distribution needs std > 0, low < high and hold >= 1: std={std.tolist()}, "
                f"low={self.low.tolist()}, high={self.high.tolist()}, hold={hold}"
            )

    @property
    def middle(self) -> Float[Tensor, " W"]:
        """The mean."""
        return self.mean

    @property
    def half(self) -> Float[Tensor, " W"]:
        """Half the width of a box with this deviation, or half that of the bounds where that is less."""
        return torch.minimum(3**0.5 * self.std, (self.high - self.low) / 2)

    def sample(self, shape: tuple[int, int, int], rng: torch.Generator) -> Float[Tensor, "B S H W"]:
        """Draw candidates."""
        b, s, h = shape
        noise = torch.randn(b, s, -(-h // self.hold), len(self.mean), generator=rng)
        return self.clip(self.mean + noise.repeat_interleave(self.hold, 2)[:, :, :h] * self.std)


@final
class Bank(ActionSpace):
    """Stretches of actions from episodes, put one after another; bounds are quantiles of what they hold.

    What was done before is possible and goes somewhere, which random numbers do not say of themselves.

    Args:
        stretches: M stretches of L actions.
        tail: share of values cut off at either end for the bounds.

    Raises:
        UserError: there are none, or `tail` is not in [0, 0.5).

    Source: the queue of recent macro-actions of H-JEPA (arXiv 2610.06805).
    """

    def __init__(self, stretches: Float[Tensor, "M L W"], tail: float = 0.01) -> None:
        if not stretches.numel() or not 0 <= tail < 0.5:
            raise UserError(f"a bank needs stretches and a tail in [0, 0.5): {tuple(stretches.shape)}, tail={tail}")
        self.stretches = stretches
        each = stretches.flatten(0, 1).sort(0).values
        last = len(each) - 1
        self.low, self.high = each[round(tail * last)], each[round((1 - tail) * last)]

    def sample(self, shape: tuple[int, int, int], rng: torch.Generator) -> Float[Tensor, "B S H W"]:
        """Draw candidates."""
        b, s, h = shape
        m, length, width = self.stretches.shape
        which = torch.randint(m, (b, s, -(-h // length)), generator=rng)
        return self.stretches[which].reshape(b, s, -1, width)[:, :, :h]
