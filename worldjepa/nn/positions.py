"""How tokens tell where they stand: position codes as functions of coordinates, so that nothing needs to know a grid's size.

`SinCos` is added to the tokens; `worldjepa.nn.rotary.Rotary` turns queries and keys. Encoders and predictors take either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.types import Tokens

AXES = {"t": 0, "h": 1, "w": 2}


class Rotation(NamedTuple):
    """What the attention does to queries and keys: for each token, cosine and sine of the angle of each feature of a head."""

    cos: Float[Tensor, "b 1 N hd"]
    sin: Float[Tensor, "b 1 N hd"]

    def last(self, count: int) -> Rotation:
        """That of the last `count` tokens."""
        return Rotation(self.cos[..., -count:, :], self.sin[..., -count:, :])


class Positions(ABC):
    """A position code. It holds no state but its settings."""

    def __init__(self, axes: str) -> None:
        check_axes(axes)
        self.axes = axes

    @abstractmethod
    def check(self, dim: int, heads: int) -> None:
        """Raise `UserError` unless there is room for the code in tokens of width `dim` and this many heads."""

    def added(self, tokens: Tokens) -> Float[Tensor, "*b N D"]:
        """The tokens' values with the code added; by default none is."""
        return tokens.x

    def rotation(self, pos: Float[Tensor, "B N 3"], head_dim: int) -> Rotation | None:
        """How to turn queries and keys of tokens at `pos`; by default not at all."""
        return None


@final
class SinCos(Positions):
    """The fixed sine-cosine code of `sincos`, added to the tokens (I-JEPA, V-JEPA).

    Args:
        axes: the axes that the code names, in order: `wh` for images, `thw` for videos.
    """

    def __init__(self, axes: str = "wh") -> None:
        super().__init__(axes)

    def check(self, dim: int, heads: int) -> None:
        """Every axis needs a sine and a cosine."""
        if dim % 2 or dim < 2 * len(self.axes):
            raise UserError(f"width {dim} has no room for sines and cosines of the {len(self.axes)} axes '{self.axes}'")

    def added(self, tokens: Tokens) -> Float[Tensor, "*b N D"]:
        """The tokens' values with the code added."""
        return tokens.x + sincos(tokens.pos, tokens.x.shape[-1], self.axes).to(tokens.x.dtype)


def check_axes(axes: str) -> None:
    """Raise `UserError` unless `axes` names one or more of t, h and w, each once."""
    if any(axis not in AXES for axis in axes) or not axes or len(set(axes)) != len(axes):
        raise UserError(f"position axes '{axes}' must be one or more of t, h and w, each once")


def expanded(pos: Float[Tensor, "*b N 3"]) -> bool:
    """Whether one set of positions is shared by all samples, as tokenizers give them: then one code serves all."""
    return pos.ndim > 2 and pos.shape[0] > 0 and pos.stride(0) == 0


def sincos(pos: Float[Tensor, "*b N 3"], dim: int, axes: str = "wh") -> Float[Tensor, "*b N {dim}"]:
    """The fixed sine-cosine position code.

    The width is shared evenly among `axes`, in the order given. On each axis the code of position p is
    `[sin(p w_0), sin(p w_1), ..., cos(p w_0), cos(p w_1), ...]` with `w_i = 10000^(-i / n)` for n frequencies. The default
    order, column before row, is that of I-JEPA and MAE; V-JEPA's is `thw`. Where the width does not divide, every axis
    gets as many frequencies as it takes to fill it, and what is too much at the end is cut off (V-JEPA). Released weights
    depend on all of this.
    """
    count = -(-dim // (2 * len(axes)))
    exponent = torch.arange(count, dtype=torch.float64, device="cpu") / count
    omega = (10000.0**-exponent).to(pos.device, torch.float32)  # [n]
    base = pos[:1] if expanded(pos) else pos
    angles = base[..., [AXES[axis] for axis in axes], None].float() * omega  # [*b, N, axes, n]
    code = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :dim]  # [*b, N, dim]
    return code.expand(pos.shape[0], *code.shape[1:]) if expanded(pos) else code
