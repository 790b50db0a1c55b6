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
from worldjepa.nn.norm import BatchNorm
from worldjepa.nn.positions import Positions, SinCos
from worldjepa.types import Tokens


@final
class MaskTokenViT(Predictor):
    """The narrow vision transformer of I-JEPA and V-JEPA: a learned token that knows its place stands for each question.

    Every target set is answered in a sequence of its own, next to its context: blocks never see one another's questions. With
    `joint`, all of them are answered in one sequence next to the one context, which then passes through the predictor once
    instead of M times; answers can draw on one another's questions. Not what I-JEPA does, and up to half of a step cheaper.

    Args:
        input_dim: width of the context, D.
        dim: width of the predictor.
        depth: number of blocks.
        heads: attention heads; must divide `dim`. The published models use as many as their encoder.
        mlp_ratio: hidden width of the MLPs over `dim`.
        positions: how tokens tell where they stand; by default I-JEPA's code, `SinCos("wh")`.
        init: see `worldjepa.nn.init.initialise`.
        mask_tokens: learned tokens for questions; the i-th of a step's masks asks with the i-th, and begins anew after the
            last. V-JEPA has one for each mask.
        mask_std: standard deviation that they start with (I-JEPA .02, V-JEPA 0).
        joint: answer all target sets of a sample in one sequence.
        out_dim: width of the answers; by default D.

    Source: I-JEPA (arXiv 2301.08243), `src/models/vision_transformer.py` of its repository; V-JEPA (arXiv 2404.08471).
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 384,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        positions: Positions | None = None,
        init: Scheme = "normal",
        mask_tokens: int = 1,
        mask_std: float = 0.02,
        joint: bool = False,
        out_dim: int | None = None,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"predictor width {dim} does not divide among {heads} heads")
        if mask_tokens < 1 or mask_std < 0:
            raise UserError(
                f"predictor.mask_tokens={mask_tokens} must be at least 1, predictor.mask_std={mask_std} not negative"
            )
        self.dim = dim
        self.heads = heads
        self.positions = SinCos() if positions is None else positions
        self.positions.check(dim, heads)
        self.joint = joint
        self.predictor_embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(mask_tokens, 1, dim))
        self.predictor_blocks = Transformer(dim, depth, heads, mlp_ratio)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, out_dim or input_dim)
        initialise(self, init)
        if mask_std:
            nn.init.trunc_normal_(self.mask_token, std=mask_std)

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Predict x `[B, M, Q, D']` at `query` from context x `[B, C, K, D]`, where C is 1 or M; with `joint`, 1.

        Raises:
            UserError: `joint`, and several contexts.
        """
        if cond is not None:
            raise ValueError("MaskTokenViT takes no condition; choose a predictor that does")
        if not self.joint:
            return Tokens(self._answer(context, query, mask), query)
        if context.x.shape[1] > 1:
            raise UserError(
                f"predictor.joint answers all targets from one context, but these masks make {context.x.shape[1]}"
            )
        every = query.flatten(1, 2).unsqueeze(1)  # [B, 1, M*Q, 3]
        out = self._answer(context, every, mask)  # [B, 1, M*Q, D]
        return Tokens(out.reshape(*query.shape[:3], out.shape[-1]), query)

    def _answer(self, context: Tokens, query: Float[Tensor, "B M Q 3"], mask: int) -> Float[Tensor, "B M Q D"]:
        b, m, q, _ = query.shape
        seen = self._placed(self.predictor_embed(context.x), context.pos)  # [B, C, K, P]
        token = self.mask_token[mask % len(self.mask_token)].to(seen.x.dtype)  # [1, P]
        asked = self._placed(token.expand(b, m, q, -1), query)  # [B, M, Q, P]
        x = torch.cat([seen.x.expand(b, m, -1, -1), asked.x], dim=2).flatten(0, 1)  # [B*M, K+Q, P]
        pos = torch.cat([seen.pos.expand(b, m, -1, -1), asked.pos], dim=2).flatten(0, 1)  # [B*M, K+Q, 3]
        x = self.predictor_blocks(x, queries=q, rotation=self.positions.rotation(pos, self.dim // self.heads))
        out: Tensor = self.predictor_proj(self.predictor_norm(x))  # [B*M, Q, D]
        return out.reshape(b, m, q, out.shape[-1])

    def _placed(self, x: Float[Tensor, "B S K P"], pos: Float[Tensor, "B S K 3"]) -> Tokens:
        return Tokens(self.positions.added(Tokens(x, pos)), pos)


@final
class Projector(Predictor):
    """One answer for the whole, whatever is asked: the mean of what is seen, through layers with batch normalisation.

    Each hidden layer is linear, normalised over the batch of all processes, and rectified; the last one is linear.

    Args:
        input_dim: width of the context, D.
        dim: width of the answers.
        hidden: width of the hidden layers.
        depth: number of hidden layers.

    Raises:
        UserError: a number is not positive.

    Source: the expander of VICReg (arXiv 2105.04906) and the projector of LeJEPA (arXiv 2511.08544).
    """

    def __init__(self, input_dim: int, dim: int = 512, hidden: int = 2048, depth: int = 2) -> None:
        super().__init__()
        if min(dim, hidden, depth) < 1:
            raise UserError(
                f"predictor.dim, hidden and depth must be at least 1: dim={dim}, hidden={hidden}, depth={depth}"
            )
        layers: list[nn.Module] = []
        for width in [input_dim, *[hidden] * (depth - 1)]:
            layers += [nn.Linear(width, hidden), BatchNorm(hidden), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, dim))
        initialise(self, "xavier")

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Answer each set's questions alike, x `[B, M, Q, D']`, from its context."""
        if cond is not None:
            raise ValueError("Projector takes no condition; choose a predictor that does")
        out = self.net(context.x.mean(-2))  # [B, C, D']
        return Tokens(out.unsqueeze(2).expand(*query.shape[:3], -1), query)
