"""What is known of a frame besides the observation, such as the pose of an arm, and what actions make of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError


class Follows(nn.Module, ABC):
    """The rule by which an action changes a state that is not observed: while a plan is imagined, nothing tells the state."""

    @abstractmethod
    def forward(self, state: Float[Tensor, "*b S"], action: Float[Tensor, "*b A"]) -> Float[Tensor, "*b S"]:
        """The state after one action, both in the units of the data.

        Raises:
            UserError: the rule does not fit states or actions of this width.
        """


@final
class Hold(Follows):
    """The state stays as it is."""

    def forward(self, state: Float[Tensor, "*b S"], action: Float[Tensor, "*b A"]) -> Float[Tensor, "*b S"]:
        """The same state."""
        return state


@final
class Add(Follows):
    """The action is added to the state: positions that displacements move.

    Args:
        scale: length of a displacement, where the action is in other units than the state.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = float(scale)

    def forward(self, state: Float[Tensor, "*b S"], action: Float[Tensor, "*b A"]) -> Float[Tensor, "*b S"]:
        """The moved state.

        Raises:
            UserError: state and action differ in width.
        """
        if state.shape[-1] != action.shape[-1]:
            raise UserError(
                f"actions of {action.shape[-1]} numbers cannot be added to states of {state.shape[-1]}: choose another rule "
                "for the state that follows, such as worldjepa.nn.states.Hold"
            )
        return state + self.scale * action


@final
class AddPose(Follows):
    """Moves the pose of an arm: position (3 numbers), Euler angles about the fixed axes x, y and z (3), gripper (1).

    Displacement and change of the gripper are added, the latter within [0, 1]; the rotation of the action is applied after
    that of the state.

    Source: V-JEPA 2 (arXiv 2506.09985), section 3: the states and actions of DROID, and how its planner moves them.
    """

    WIDTH = 7

    def forward(self, state: Float[Tensor, "*b S"], action: Float[Tensor, "*b A"]) -> Float[Tensor, "*b S"]:
        """The moved pose.

        Raises:
            UserError: state or action do not have seven numbers.
        """
        if not state.shape[-1] == action.shape[-1] == self.WIDTH:
            raise UserError(
                f"poses and their changes have {self.WIDTH} numbers, not {state.shape[-1]} and {action.shape[-1]}"
            )
        angles = angles_of(rotation_of(action[..., 3:6]) @ rotation_of(state[..., 3:6]))
        gripper = (state[..., 6:] + action[..., 6:]).clamp(0, 1)
        return torch.cat([state[..., :3] + action[..., :3], angles, gripper], -1)


def rotation_of(angles: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by three angles about the fixed axes x, y and z, in this order."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        *(cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz),
        *(cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz),
        *(-sy, sx * cy, cx * cy),
    ]
    return torch.stack(rows, -1).reshape(*angles.shape[:-1], 3, 3)


def angles_of(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """The angles of `rotation_of`; where the one about y is a right angle, one of the many that give the rotation."""
    up = torch.hypot(rotation[..., 0, 0], rotation[..., 1, 0])
    x = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    z = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return torch.stack([x, torch.atan2(-rotation[..., 2, 0], up), z], -1)


@final
class StateSpec(nn.Module):
    """Describes a part of the state and normalises it. Mean and deviation lie in buffers, as those of actions do.

    Args:
        dim: its numbers.
        follows: what an action makes of it.
        normalise: take mean and deviation from the training data; otherwise the numbers are given to the model as they are.

    Raises:
        UserError: the number is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, follows: Follows | None = None, normalise: bool = True) -> None:
        super().__init__()
        if dim < 1:
            raise UserError(f"a state needs at least 1 number: dim={dim}")
        self.dim, self.normalise = dim, normalise
        self.follows = Hold() if follows is None else follows
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, states: Float[Tensor, "... S"]) -> None:
        """Take mean and standard deviation from training data, if they are to be normalised."""
        if self.normalise:
            mean, std = moments(states.reshape(-1, self.dim))
            self.mean.copy_(mean)
            self.std.copy_(std)

    def forward(self, states: Float[Tensor, "... S"]) -> Float[Tensor, "... S"]:
        """The states in units of their standard deviation."""
        return (states - self.mean) / self.std


def moments(values: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
    """Mean and standard deviation of each number, 1 for what never changes."""
    std = values.float().std(0, correction=0)
    return values.float().mean(0), torch.where(std > 1e-6, std, torch.ones_like(std))
