"""Attentive pooling: one learned query asks all tokens what they hold."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.nn.attention import attend
from worldjepa.nn.blocks import Transformer
from worldjepa.nn.init import initialise, rescale
from worldjepa.nn.mlp import MLP

POOL_EPS = 1e-5
"""Epsilon of the pooler's layer norms, which is not that of the encoders."""


@final
class CrossAttention(nn.Module):
    """A query asks tokens; what they answer is not projected again."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)

    def forward(self, query: Float[Tensor, "B Q D"], x: Float[Tensor, "B n D"]) -> Float[Tensor, "B Q D"]:
        """What the tokens answer."""

        def split(values: Tensor) -> Tensor:  # [B, n, D] -> [B, H, n, hd]
            return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call, no-any-return]

        k, v = self.kv(x).chunk(2, -1)
        return attend(split(self.q(query)), split(k), split(v)).transpose(1, 2).flatten(2)


@final
class CrossBlock(nn.Module):
    """Cross-attention and MLP, each added to the query, which is not normalised before it asks."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=POOL_EPS)
        self.attn = CrossAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=POOL_EPS)
        self.mlp = MLP(dim, round(dim * mlp_ratio))

    def forward(self, query: Float[Tensor, "B Q D"], x: Float[Tensor, "B n D"]) -> Float[Tensor, "B Q D"]:
        """The query after it has asked."""
        query = query + self.attn(query, self.norm1(x))
        out: Tensor = query + self.mlp(self.norm2(query))
        return out


@final
class AttentivePool(nn.Module):
    """Blocks of self-attention over the tokens, then one learned query that asks them.

    The output layers of the l-th block, counted from 1 and the query's as the last, start divided by sqrt(2 l).

    Args:
        dim: width D.
        heads: attention heads; must divide `dim`.
        depth: blocks in all: 1 in V-JEPA, 4 in V-JEPA 2.
        mlp_ratio: hidden width of the MLPs over `dim`.

    Source: V-JEPA (arXiv 2404.08471), V-JEPA 2 (arXiv 2506.09985). V-JEPA's own pooler, made deeper, lets the query pass
    self-attention after it has asked; that is another probe.
    """

    def __init__(self, dim: int, heads: int = 16, depth: int = 1, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or dim % heads:
            raise UserError(f"width {dim} does not divide among {heads} heads, or the depth {depth} is not at least 1")
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.blocks = Transformer(dim, depth - 1, heads, mlp_ratio, POOL_EPS)
        self.cross = CrossBlock(dim, heads, mlp_ratio)
        initialise(self, "normal")
        nn.init.trunc_normal_(self.query, std=0.02)
        rescale(self.blocks)
        with torch.no_grad():
            self.cross.mlp.fc2.weight.div_(math.sqrt(2.0 * depth))

    def forward(self, x: Float[Tensor, "B n D"]) -> Float[Tensor, "B D"]:
        """One vector for the tokens of each sample."""
        query = self.query.expand(len(x), -1, -1)
        out: Tensor = self.cross(query, self.blocks(x))[:, 0]
        return out
