"""How tokens tell where they stand: position codes as functions of coordinates, so that nothing needs to know a grid's size.

`SinCos`, by formula, and `Table` and `worldjepa.nn.volume.Volume`, stored, are added to the tokens;
`worldjepa.nn.rotary.Rotary` turns queries and keys. Encoders and predictors take any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.types import Grid, Tokens

AXES = {"t": 0, "h": 1, "w": 2}


class Rotation(NamedTuple):
    """What the attention does to queries and keys: for each token, cosine and sine of the angle of each feature of a head."""

    cos: Float[Tensor, "b 1 N hd"]
    sin: Float[Tensor, "b 1 N hd"]

    def last(self, count: int) -> Rotation:
        """That of the last `count` tokens."""
        return Rotation(self.cos[..., -count:, :], self.sin[..., -count:, :])


class Positions(nn.Module, ABC):
    """A position code."""

    @abstractmethod
    def check(self, dim: int, heads: int) -> None:
        """Raise `UserError` unless there is room for the code in tokens of width `dim` and this many heads."""

    def coordinates(self, grid: Grid, device: torch.device | str | None = None) -> Float[Tensor, "N 3"]:
        """Where the code wants the cells of a grid to stand: by default at the grid's own coordinates."""
        return grid.pos(device)

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
        super().__init__()
        check_axes(axes)
        self.axes = axes

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


class Stored(Positions):
    """A position code that is stored at the nodes of a lattice, as released weights bring it.

    It begins as the formula's code. Coordinates are in units of its own lattice; beyond its border it continues the border.

    Args:
        lattice: where it is stored.
        dim: width of the code.
        axes: the axes that the formula names, in order.

    Raises:
        UserError: a number is not positive.
    """

    table: Tensor

    def __init__(self, lattice: Grid, dim: int, axes: str) -> None:
        super().__init__()
        if min(*lattice, dim) < 1:
            raise UserError(
                f"times, height, width and dim must be at least 1: times={lattice.t}, height={lattice.h}, width={lattice.w}, "
                f"dim={dim}"
            )
        self.lattice, self.dim = lattice, dim
        self.register_buffer("table", sincos(lattice.pos(), dim, axes))

    @abstractmethod
    def forward(self, pos: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N {self.dim}"]:
        """The code at these coordinates; at the nodes exactly what is stored."""

    def check(self, dim: int, heads: int) -> None:
        """The stored code is of one width."""
        if dim != self.dim:
            raise UserError(f"the stored position code has width {self.dim}, not {dim}")

    def coordinates(self, grid: Grid, device: torch.device | str | None = None) -> Float[Tensor, "N 3"]:
        """Where the cells of a grid that covers the same observation stand on this lattice: centres on centres."""
        scale = torch.tensor([own / other for own, other in zip(self.lattice, grid, strict=True)], device=device)
        return (grid.pos(device) + 0.5) * scale - 0.5

    def added(self, tokens: Tokens) -> Float[Tensor, "*b N D"]:
        """The tokens' values with the code added."""
        code: Tensor = self(tokens.pos)
        return tokens.x + code.to(tokens.x.dtype)


@final
class Table(Stored):
    """A position code that is stored at the nodes of a lattice of rows and columns, and bicubic between them; see `Stored`.

    Args:
        height: rows of the lattice.
        width: columns.
        dim: width of the code.

    Raises:
        UserError: a number is not positive.
    """

    def __init__(self, height: int, width: int, dim: int) -> None:
        super().__init__(Grid(1, height, width), dim, "wh")

    def forward(self, pos: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N {self.dim}"]:
        """The code at these coordinates; at the nodes exactly what is stored.

        Between them the same numbers as `torch.nn.functional.interpolate(mode="bicubic")`, with which the position codes of
        vision transformers are usually brought to other resolutions.
        """
        base = pos[:1] if expanded(pos) else pos
        rows, row_weights = _taps(base[..., 1], self.lattice.h)  # [*b, N, 4]
        columns, column_weights = _taps(base[..., 2], self.lattice.w)
        code = torch.zeros((), dtype=self.table.dtype, device=self.table.device)
        for i in range(4):
            for j in range(4):
                weight = (row_weights[..., i] * column_weights[..., j]).to(self.table.dtype)
                code = code + weight[..., None] * self.table[rows[..., i] * self.lattice.w + columns[..., j]]
        return code.expand(pos.shape[0], *code.shape[1:]) if expanded(pos) else code


_SHARPNESS = -0.75
"""The constant of the cubic kernel that PyTorch interpolates with (Keys, 1981, calls it a)."""


def _taps(at: Float[Tensor, "*b N"], extent: int) -> tuple[Tensor, Float[Tensor, "*b N 4"]]:
    """The four nodes around each coordinate and their weights; nodes beyond the border are those at the border."""
    first = at.floor()
    t = (at - first)[..., None] + torch.tensor([1.0, 0.0, -1.0, -2.0], device=at.device)  # distances
    d = t.abs()
    near = ((_SHARPNESS + 2) * d - (_SHARPNESS + 3)) * d * d + 1
    far = ((_SHARPNESS * d - 5 * _SHARPNESS) * d + 8 * _SHARPNESS) * d - 4 * _SHARPNESS
    nodes = first[..., None].long() + torch.arange(-1, 3, device=at.device)
    return nodes.clamp(0, extent - 1), torch.where(d <= 1, near, far)
