"""Position codes as functions of coordinates, so that nothing needs to know a grid's size: by formula, or stored."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.types import Grid

AXES = {"t": 0, "h": 1, "w": 2}


def check_axes(dim: int, axes: str) -> None:
    """Raise `UserError` unless a code of width `dim` divides into sine and cosine pairs for every one of `axes`."""
    wrong = [axis for axis in axes if axis not in AXES]
    if wrong or not axes or len(set(axes)) != len(axes):
        raise UserError(f"position axes '{axes}' must be one or more of t, h and w, each once")
    if dim % (2 * len(axes)):
        raise UserError(f"width {dim} does not divide into sine and cosine codes for the {len(axes)} axes '{axes}'")


def sincos(pos: Float[Tensor, "*b N 3"], dim: int, axes: str = "wh") -> Float[Tensor, "*b N {dim}"]:
    """The fixed sine-cosine position code.

    The width is shared evenly among `axes`, in the order given. On each axis the code of position p is
    `[sin(p w_0), sin(p w_1), ..., cos(p w_0), cos(p w_1), ...]` with `w_i = 10000^(-i / n)` for n frequencies. The default
    order, column before row, is that of I-JEPA and MAE; released weights depend on it.
    """
    count = dim // (2 * len(axes))
    exponent = torch.arange(count, dtype=torch.float64, device="cpu") / count
    omega = (10000.0**-exponent).to(pos.device, torch.float32)  # [n]
    # Tokenizers expand one grid over the batch: then one code serves all samples.
    shared = pos.ndim > 2 and pos.shape[0] > 0 and pos.stride(0) == 0
    base = pos[:1] if shared else pos
    angles = base[..., [AXES[axis] for axis in axes], None].float() * omega  # [*b, N, axes, n]
    code = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # [*b, N, dim]
    return code.expand(pos.shape[0], *code.shape[1:]) if shared else code


class Table(nn.Module):
    """A position code that is stored at the nodes of a lattice and bicubic between them, as released weights bring it.

    It begins as the formula's code. Coordinates are in units of its own lattice; beyond its border it continues the border.

    Args:
        height: rows of the lattice.
        width: columns.
        dim: width of the code.

    Raises:
        UserError: a number is not positive.
    """

    table: Tensor

    def __init__(self, height: int, width: int, dim: int) -> None:
        super().__init__()
        if min(height, width, dim) < 1:
            raise UserError(f"height, width and dim must be at least 1: height={height}, width={width}, dim={dim}")
        self.lattice = Grid(1, height, width)
        self.dim = dim
        self.register_buffer(
            "table", sincos(self.lattice.pos(), dim) if dim % 4 == 0 else torch.zeros(height * width, dim)
        )

    def coordinates(self, grid: Grid, device: torch.device | str | None = None) -> Float[Tensor, "N 3"]:
        """Where the cells of a grid that covers the same picture stand on this lattice: centres on centres."""
        scale = torch.tensor([own / other for own, other in zip(self.lattice, grid, strict=True)], device=device)
        return (grid.pos(device) + 0.5) * scale - 0.5

    def forward(self, pos: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N {self.dim}"]:
        """The code at these coordinates; at the nodes exactly what is stored.

        Between them the same numbers as `torch.nn.functional.interpolate(mode="bicubic")`, with which the position codes of
        vision transformers are usually brought to other resolutions.
        """
        shared = pos.ndim > 2 and pos.shape[0] > 0 and pos.stride(0) == 0
        base = pos[:1] if shared else pos
        rows, row_weights = _taps(base[..., 1], self.lattice.h)  # [*b, N, 4]
        columns, column_weights = _taps(base[..., 2], self.lattice.w)
        code = torch.zeros((), dtype=self.table.dtype, device=self.table.device)
        for i in range(4):
            for j in range(4):
                weight = (row_weights[..., i] * column_weights[..., j]).to(self.table.dtype)
                code = code + weight[..., None] * self.table[rows[..., i] * self.lattice.w + columns[..., j]]
        return code.expand(pos.shape[0], *code.shape[1:]) if shared else code


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
