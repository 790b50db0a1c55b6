"""A stored position code of three axes, as V-JEPA's released weights bring it."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.nn.positions import Stored, expanded
from worldjepa.types import Grid


@final
class Volume(Stored):
    """A position code that is stored at the nodes of a lattice of times, rows and columns, and trilinear between them; see
    `Stored`.

    Args:
        times: extent of the lattice in time.
        height: rows.
        width: columns.
        dim: width of the code.

    Raises:
        UserError: a number is not positive.

    Source: V-JEPA (arXiv 2404.08471), whose evaluations at other resolutions interpolate so.
    """

    def __init__(self, times: int, height: int, width: int, dim: int) -> None:
        super().__init__(Grid(times, height, width), dim, "thw")

    def forward(self, pos: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N {self.dim}"]:
        """The code at these coordinates; at the nodes exactly what is stored.

        Between them the same numbers as `torch.nn.functional.interpolate(mode="trilinear")`.
        """
        base = pos[:1] if expanded(pos) else pos
        axes = [_ends(base[..., axis], extent) for axis, extent in enumerate(self.lattice)]
        code = torch.zeros((), dtype=self.table.dtype, device=self.table.device)
        for t, time_share in axes[0]:
            for h, row_share in axes[1]:
                for w, column_share in axes[2]:
                    share = (time_share * row_share * column_share).to(self.table.dtype)
                    code = code + share[..., None] * self.table[(t * self.lattice.h + h) * self.lattice.w + w]
        return code.expand(pos.shape[0], *code.shape[1:]) if expanded(pos) else code


def _ends(at: Float[Tensor, "*b N"], extent: int) -> list[tuple[Int[Tensor, "*b N"], Float[Tensor, "*b N"]]]:
    """The two nodes around each coordinate with their shares; nodes beyond the border are those at the border."""
    first = at.floor()
    share = at - first
    node = first.long()
    return [(node.clamp(0, extent - 1), 1 - share), ((node + 1).clamp(0, extent - 1), share)]
