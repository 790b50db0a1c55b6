"""Rotary positions (RoFormer, arXiv 2104.09864) on up to three axes: attention sees how far tokens stand from one another."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.nn.positions import AXES, Positions, Rotation, check_axes, expanded


@final
class Rotary(Positions):
    """Turns pairs of neighbouring features of every query and key by angles that grow with the token's coordinates.

    The features of a head are shared evenly among `axes`, in the order given, in whole pairs; what is left over at the end
    is not turned. On an axis with n pairs the j-th pair turns by `p 10000^(-j / n)` at position p.

    Args:
        axes: the axes that the code names, in order: `thw` for videos.
        tiled: V-JEPA 2's released variant. There the two features of a pair have different frequencies, those of pair j
            being the (2j)-th and (2j+1)-th of the n frequencies repeated one after another. That is no rotation, and scores
            depend on more than distances; released weights need it.

    Source: V-JEPA 2 (arXiv 2506.09985), section 2.1.
    """

    def __init__(self, axes: str = "thw", tiled: bool = False) -> None:
        super().__init__()
        check_axes(axes)
        self.axes = axes
        self.tiled = tiled

    def check(self, dim: int, heads: int) -> None:
        """Every head needs a pair of features for each axis."""
        if self._pairs(dim // heads) < 1:
            raise UserError(
                f"{heads} heads of {dim // heads} features have no room for rotary positions on the {len(self.axes)} axes "
                f"'{self.axes}': each needs {2 * len(self.axes)} or more"
            )

    def rotation(self, pos: Float[Tensor, "B N 3"], head_dim: int) -> Rotation:
        """Cosine and sine `[B, 1, N, head_dim]`, or `[1, 1, N, head_dim]` where all samples share their positions."""
        count = self._pairs(head_dim)
        exponent = torch.arange(count, dtype=torch.float64, device="cpu") / count
        omega = (10000.0**-exponent).to(pos.device, torch.float32)  # [n]
        omega = omega.repeat(2) if self.tiled else omega.repeat_interleave(2)  # [2n]
        base = pos[:1] if expanded(pos) else pos
        angles = base[..., [AXES[axis] for axis in self.axes], None].float() * omega  # [b, N, axes, 2n]
        rest = head_dim - 2 * count * len(self.axes)
        angles = torch.nn.functional.pad(angles.flatten(-2), (0, rest))[:, None]  # [b, 1, N, hd]
        return Rotation(angles.cos(), angles.sin())

    def _pairs(self, head_dim: int) -> int:
        return head_dim // len(self.axes) // 2


def turned(x: Float[Tensor, "B H N hd"], rotation: Rotation) -> Float[Tensor, "B H N hd"]:
    """Turn each pair (a, b) of neighbouring features to (a cos - b sin, b cos + a sin), with each feature's own angle."""
    quarter = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * rotation.cos.to(x.dtype) + quarter * rotation.sin.to(x.dtype)
