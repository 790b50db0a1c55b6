"""A predictor without attention: convolutions over the lattice, a learned vector wherever nothing is seen."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Predictor
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import AXES, check_axes
from worldjepa.types import Tokens


@final
class ConvDecoder(Predictor):
    """Puts what is seen on its places, a learned vector on those that are asked, and convolves.

    Each layer is a grouped convolution, a norm over the features of each place and a GELU, added to its input. Places that
    are neither seen nor asked are as empty as those beyond the edges. Every target set is answered on a lattice of its own.

    Args:
        input_dim: width of the context and of the answers, D.
        dim: width of the layers.
        depth: number of layers.
        kernel: extent of the convolutions on each of the `axes`, odd.
        groups: groups of features that do not mix in a layer; must divide `dim`.
        axes: the axes of the lattice that convolutions go along.
        init: see `worldjepa.nn.init.initialise`.

    Raises:
        UserError: a number is out of its range.

    Source: the decoder of data2vec 2.0 (arXiv 2212.07525), section 3.1.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 384,
        depth: int = 6,
        kernel: int = 3,
        groups: int = 16,
        axes: str = "wh",
        init: Scheme = "normal",
    ) -> None:
        super().__init__()
        if min(dim, depth, groups) < 1 or kernel < 1 or kernel % 2 == 0:
            raise UserError(
                f"predictor.dim, depth and groups must be at least 1, kernel odd: dim={dim}, depth={depth}, groups={groups}, "
                f"kernel={kernel}"
            )
        if dim % groups:
            raise UserError(f"predictor.groups={groups} does not divide predictor.dim={dim}")
        check_axes(axes)
        t, h, w = (kernel if axis in axes else 1 for axis in AXES)
        self.predictor_embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.convolutions = nn.ModuleList(
            nn.Conv3d(dim, dim, (t, h, w), padding="same", groups=groups) for _ in range(depth)
        )
        self.predictor_proj = nn.Linear(dim, input_dim)
        initialise(self, init)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Predict x `[B, M, Q, D]` at `query`, places of the lattice, from context x `[B, C, K, D]`; C is 1 or M."""
        if cond is not None:
            raise ValueError("ConvDecoder takes no condition; choose a predictor that does")
        b, m, q, _ = query.shape
        seen = self.predictor_embed(context.x).expand(b, m, -1, -1).flatten(0, 1)  # [B*M, K, P]
        asked = self.mask_token.to(seen.dtype).expand(b * m, q, -1)  # [B*M, Q, P]
        pos = torch.cat([query, context.pos.expand(b, m, -1, -1)], 2).flatten(0, 1).round().long()  # [B*M, Q+K, 3]
        t, h, w = (pos.amax((0, 1)) + 1).tolist()
        at = ((pos[..., 0] * h + pos[..., 1]) * w + pos[..., 2])[..., None]  # [B*M, Q+K, 1]
        x = scattered(torch.cat([asked, seen], 1), at, t * h * w)
        there = scattered(torch.ones_like(at, dtype=x.dtype), at, t * h * w)
        x, there = (part.transpose(1, 2).reshape(b * m, -1, t, h, w) for part in (x, there))  # [B*M, P, t, h, w]
        for convolution in self.convolutions:
            x = x + layer(convolution, x) * there
        answers = x.flatten(2).transpose(1, 2).gather(1, at[:, :q].expand(-1, -1, x.shape[1]))  # [B*M, Q, P]
        out: Tensor = self.predictor_proj(answers)
        return Tokens(out.reshape(b, m, q, out.shape[-1]), query)


def scattered(values: Float[Tensor, "B S P"], at: Int[Tensor, "B S 1"], places: int) -> Float[Tensor, "B {places} P"]:
    """The values on their places, zeros elsewhere."""
    empty = values.new_zeros(len(values), places, values.shape[-1])
    return empty.scatter(1, at.expand(-1, -1, values.shape[-1]), values)


def layer(convolution: nn.Module, x: Float[Tensor, "B P t h w"]) -> Float[Tensor, "B P t h w"]:
    """Convolve, norm the features of each place, rectify."""
    y = convolution(x).movedim(1, -1)  # [B, t, h, w, P]
    return F.gelu(F.layer_norm(y, y.shape[-1:])).movedim(-1, 1)
