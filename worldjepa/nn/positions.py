"""Position codes as functions of coordinates, so that nothing needs to know a grid's size."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import UserError

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
