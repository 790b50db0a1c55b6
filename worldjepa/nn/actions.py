"""What a prediction is conditioned on: actions and states, how many numbers, within which bounds, how they are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.nn.states import StateSpec, moments


@final
class ActionSpec(nn.Module):
    """Describes actions and normalises them. All of it lies in buffers, so it travels inside the checkpoint.

    A vector that acts holds `repeat` actions of `dim` numbers one after another, where a model skips frames. With `states` a
    condition is wider: behind what acts stand the states of the frame that it leaves. Mean and standard deviation are taken
    from the training data before the first step, and so are bounds that are not given.

    Args:
        dim: numbers of one action, A.
        repeat: actions that lead from one frame of the model to the next.
        low: least value of each number.
        high: largest value of each.
        states: what else a prediction is conditioned on, in the order of its numbers, such as proprioception.
        normalise: take mean and deviation from the training data; otherwise actions are given to the model as they are.

    Raises:
        UserError: a number is not positive, or the bounds do not fit.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int,
        repeat: int = 1,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
        states: Sequence[StateSpec] = (),
        normalise: bool = True,
    ) -> None:
        super().__init__()
        if min(dim, repeat) < 1:
            raise UserError(f"actions need dim and repeat of at least 1: dim={dim}, repeat={repeat}")
        if (low is None) != (high is None):
            raise UserError("bounds of actions are given both, low and high, or neither")
        if low is not None and high is not None:
            fits = len(low) == len(high) == dim and all(one < other for one, other in zip(low, high, strict=True))
            if not fits:
                raise UserError(f"low must lie below high in each of {dim} numbers: low={list(low)}, high={list(high)}")
        self.dim, self.repeat, self.normalise = dim, repeat, normalise
        self.states = nn.ModuleList(states)
        self.bounded = low is not None
        """Whether the bounds were given."""
        self.register_buffer("low", torch.tensor([-1.0] * dim if low is None else [float(v) for v in low]))
        self.register_buffer("high", torch.tensor([1.0] * dim if high is None else [float(v) for v in high]))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @property
    def width(self) -> int:
        """Numbers of a vector that acts, W."""
        return self.dim * self.repeat

    @property
    def parts(self) -> list[int]:
        """Numbers of each part of a condition: of what acts, then of each state."""
        return [self.width, *(state.dim for state in self._states())]

    @property
    def whole(self) -> int:
        """Numbers of a condition, V: those of what acts and of all states."""
        return sum(self.parts)

    def _states(self) -> list[StateSpec]:
        return [cast(StateSpec, state) for state in self.states]

    def fit(self, conditions: Float[Tensor, "... V"]) -> None:
        """Take mean, standard deviation, and bounds that were not given, from training data.

        Raises:
            UserError: the data's vectors are of another width.
        """
        self.check(conditions)
        acting, *states = torch.split(conditions, self.parts, -1)
        each = acting.reshape(-1, self.dim).float()
        if self.normalise:
            mean, std = moments(each)
            self.mean.copy_(mean)
            self.std.copy_(std)
        if not self.bounded:
            self.low.copy_(each.amin(0))
            self.high.copy_(each.amax(0))
        for spec, state in zip(self._states(), states, strict=True):
            spec.fit(state)

    def check(self, conditions: Float[Tensor, "... V"]) -> None:
        """Raise `UserError` unless conditions are as wide as this says."""
        if conditions.shape[-1] != self.whole:
            acts = f"{self.dim} x {self.repeat} (modality.action_dim x frames skipped)"
            more = "".join(f" + {count} of a state (modality.state_dim)" for count in self.parts[1:])
            hint = "data.proprioception=true adds" if more else "data.proprioception=false leaves out"
            raise UserError(
                f"the data's actions have {conditions.shape[-1]} numbers a step, but the model expects {self.whole} = "
                f"{acts}{more}; {hint} those of the state"
            )

    def forward(self, conditions: Float[Tensor, "... V"]) -> Float[Tensor, "... V"]:
        """Conditions in units of their standard deviation."""
        self.check(conditions)
        acting, *states = torch.split(conditions, self.parts, -1)
        normalised = (acting - self.mean.repeat(self.repeat)) / self.std.repeat(self.repeat)
        return torch.cat([normalised, *(spec(state) for spec, state in zip(self._states(), states, strict=True))], -1)

    def after(self, states: Float[Tensor, "*b S"], acting: Float[Tensor, "*b W"]) -> Float[Tensor, "*b S"]:
        """What acts makes of the states of the frame that it leaves, by the rule of each; nothing here is normalised."""
        after = []
        for spec, state in zip(self._states(), torch.split(states, self.parts[1:], -1), strict=True):
            for action in torch.split(acting, self.dim, -1):
                state = spec.follows(state, action)
            after.append(state)
        return torch.cat(after, -1)
