"""Short-term memory: what was met of late, to look back at, to be reminded by, and to draw actions from."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.world.spaces import Bank


class Recalled(NamedTuple):
    """The k moments of each task that are most like what was asked for, the most similar one first."""

    states: Float[Tensor, "B k n D"]
    actions: Float[Tensor, "B k W"]
    """What was done then."""
    following: Float[Tensor, "B k n D"]
    """The states that this led to."""
    costs: Float[Tensor, "B k"] | None
    """What those cost, where costs are kept."""
    weights: Float[Tensor, "B k"]
    """Attention: it sums to one."""


@final
class ShortTermMemory:
    """A ring of the last moments of B tasks side by side: states, the actions that led to them, and what they cost.

    Args:
        capacity: moments that are kept; the oldest are forgotten.

    Raises:
        UserError: it is not positive.

    Source: LeCun, A Path Towards Autonomous Machine Intelligence (2022), section 3: the short-term memory.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UserError(f"a memory must keep at least 1 moment, not {capacity}")
        self.capacity = capacity
        self.written = 0
        """Moments since the beginning."""
        self._states = self._actions = self._costs = torch.empty(0)
        self._costed = False

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def write(
        self,
        state: Float[Tensor, "B n D"],
        action: Float[Tensor, "B W"] | None = None,
        cost: Float[Tensor, " B"] | None = None,
    ) -> None:
        """Keep a moment.

        Args:
            state: the state that was met.
            action: what led to it from the last one; None only for the first.
            cost: what the state costs; for all moments or for none.

        Raises:
            ValueError: an action or a cost is missing, or there is one too many.
        """
        if (action is None) != (self.written == 0):
            raise ValueError("an action leads to every moment but the first")
        if self.written == 0:
            self._states = state.new_zeros(len(state), self.capacity, *state.shape[1:])
            self._costs = state.new_zeros(len(state), self.capacity)
            self._costed = cost is not None
        elif self.written == 1 and action is not None:
            self._actions = action.new_zeros(len(action), self.capacity, action.shape[-1])
        if (cost is not None) != self._costed:
            raise ValueError("costs are kept of all moments or of none")
        place = self.written % self.capacity
        self._states[:, place] = state
        if action is not None:
            self._actions[:, place] = action
        if cost is not None:
            self._costs[:, place] = cost
        self.written += 1

    def _places(self, count: int) -> Int[Tensor, " T"]:
        """Where the last moments stand, in the order of time."""
        count = min(count, len(self))
        return torch.arange(self.written - count, self.written) % self.capacity

    def context(self, n: int) -> tuple[Float[Tensor, "B T n D"], Float[Tensor, "B T-1 W"] | None]:
        """The last n states, or all if there are fewer, and the actions between them; None for a single state.

        Raises:
            ValueError: nothing was written yet.
        """
        if not self.written:
            raise ValueError("nothing was written yet")
        places = self._places(n)
        return self._states[:, places], self._actions[:, places[1:]] if len(places) > 1 else None

    def costs(self) -> Float[Tensor, "B T"]:
        """What the states of `context(capacity)` cost: a critic learns from the two.

        Raises:
            ValueError: no costs were written.
        """
        if not self._costed:
            raise ValueError("no costs were written")
        return self._costs[:, self._places(self.capacity)]

    def retrieve(self, query: Float[Tensor, "B n D"], k: int, temperature: float = 1.0) -> Recalled:
        """Of each task the k moments whose states are nearest to the query, each with what came next.

        Args:
            query: what to be reminded of.
            k: how many.
            temperature: mean squared distances that make a factor of e in the weights.

        Raises:
            ValueError: there are not so many moments that something followed.
        """
        if not 1 <= k <= len(self) - 1:
            raise ValueError(f"{k} moments cannot be recalled: {max(0, len(self) - 1)} are known with what followed")
        states, between = self.context(self.capacity)
        assert between is not None
        apart = (states[:, :-1] - query[:, None]).square().mean((-1, -2))  # [B, T-1]
        near, index = apart.topk(k, 1, largest=False)
        rows = torch.arange(len(query))[:, None]
        return Recalled(
            states[rows, index],
            between[rows, index],
            states[rows, index + 1],
            self.costs()[rows, index + 1] if self._costed else None,
            torch.softmax(-near / temperature, 1),
        )

    def bank(self, length: int, tail: float = 0.01) -> Bank:
        """All stretches of so many actions in a row that were done in any of the tasks, as an action space.

        Raises:
            UserError: there are not so many actions yet.
        """
        between = self.context(self.capacity)[1] if len(self) > 1 else None
        if between is None or not 1 <= length <= between.shape[1]:
            raise UserError(f"no stretch of {length} actions is remembered: there are {max(0, len(self) - 1)} in a row")
        return Bank(between.unfold(1, length, 1).transpose(-1, -2).flatten(0, 1), tail)
