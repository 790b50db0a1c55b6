"""Predictors: answer questions about positions."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Predictor
from worldjepa.nn.blocks import NORM_EPS, Transformer
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import Table, check_axes, sincos
from worldjepa.types import Tokens


@final
class MaskTokenViT(Predictor):
    """The narrow vision transformer of I-JEPA: a learned token plus a position code stands for each question.

    Every target set is answered in a sequence of its own, next to its context: blocks never see one another's questions. With
    `joint`, all of them are answered in one sequence next to the one context, which then passes through the predictor once
    instead of M times; answers can draw on one another's questions. Not what I-JEPA does, and up to half of a step cheaper.

    Args:
        input_dim: width of the context and of the answers, D.
        dim: width of the predictor.
        depth: number of blocks.
        heads: attention heads; must divide `dim`. The published models use as many as their encoder.
        mlp_ratio: hidden width of the MLPs over `dim`.
        axes: the axes that the position code names, in order.
        init: see `worldjepa.nn.init.initialise`.
        positions: a stored position code in place of the formula, on the same lattice as the encoder's.
        joint: answer all target sets of a sample in one sequence.

    Source: I-JEPA (arXiv 2301.08243), `src/models/vision_transformer.py` of its repository.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 384,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        axes: str = "wh",
        init: Scheme = "normal",
        positions: Table | None = None,
        joint: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"predictor width {dim} does not divide among {heads} heads")
        check_axes(dim, axes)
        if positions is not None and positions.dim != dim:
            raise UserError(f"the stored position code has width {positions.dim}, the predictor {dim}")
        self.dim = dim
        self.axes = axes
        self.positions = positions
        self.joint = joint
        self.predictor_embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.predictor_blocks = Transformer(dim, depth, heads, mlp_ratio)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, input_dim)
        initialise(self, init)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None) -> Tokens:
        """Predict x `[B, M, Q, D]` at `query` from context x `[B, C, K, D]`, where C is 1 or M; with `joint`, 1.

        Raises:
            UserError: `joint`, and several contexts.
        """
        if cond is not None:
            raise ValueError("MaskTokenViT takes no condition; choose a predictor that does")
        if not self.joint:
            return Tokens(self._answer(context, query), query)
        if context.x.shape[1] > 1:
            raise UserError(
                f"predictor.joint answers all targets from one context, but these masks make {context.x.shape[1]}"
            )
        every = query.flatten(1, 2).unsqueeze(1)  # [B, 1, M*Q, 3]
        out = self._answer(context, every)  # [B, 1, M*Q, D]
        return Tokens(out.reshape(*query.shape[:3], out.shape[-1]), query)

    def _answer(self, context: Tokens, query: Float[Tensor, "B M Q 3"]) -> Float[Tensor, "B M Q D"]:
        b, m, q, _ = query.shape
        seen = self.predictor_embed(context.x)  # [B, C, K, P]
        seen = seen + self._code(context.pos).to(seen.dtype)
        seen = seen.expand(b, m, *seen.shape[2:])  # [B, M, K, P]
        asked = self.mask_token.to(seen.dtype) + self._code(query).to(seen.dtype)  # [B, M, Q, P]
        x = torch.cat([seen.flatten(0, 1), asked.flatten(0, 1)], dim=1)  # [B*M, K+Q, P]
        x = self.predictor_blocks(x, queries=q)  # [B*M, Q, P]
        out: Tensor = self.predictor_proj(self.predictor_norm(x))
        return out.reshape(b, m, q, out.shape[-1])  # [B, M, Q, D]

    def _code(self, pos: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N {self.dim}"]:
        return sincos(pos, self.dim, self.axes) if self.positions is None else self.positions(pos)
