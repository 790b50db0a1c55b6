"""Target encoders: where the answers come from."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from worldjepa.errors import UserError, unknown
from worldjepa.interfaces import Encoder, TargetEncoder
from worldjepa.types import Masks, Tokens

Sight = Literal["all", "asked"]
"""What the target encoder sees: the whole observation, or of each target set only its own tokens."""


@final
class EMA(TargetEncoder):
    """An exponential moving average of the encoder; its answers are layer-normed per token.

    Args:
        encoder: the encoder to follow; it is copied.
        steps: length of the momentum schedule in optimiser steps.
        start: momentum at step 0.
        end: momentum at step `steps`, reached linearly.
        normalise: layer-norm each answer over its features, without affine parameters.
        sees: `all` of the observation (I-JEPA), or of each target set only the tokens `asked` for (M2D), so that an answer
            holds nothing of what the context shows.
        low_precision: encode in bfloat16 even where the rest of the step does not. No gradient passes here, so only the answers
            are rounded; on a processor that makes the pass about twice as fast.

    Source: I-JEPA (arXiv 2301.08243), `src/train.py` of its repository; `sees="asked"`: M2D (arXiv 2210.14648), section 3.
    """

    def __init__(
        self,
        encoder: Encoder,
        steps: int,
        start: float = 0.996,
        end: float = 1.0,
        normalise: bool = True,
        sees: Sight = "all",
        low_precision: bool = False,
    ) -> None:
        super().__init__()
        if sees not in get_args(Sight):
            raise unknown("target.sees", sees, get_args(Sight))
        if not 0 <= start <= end <= 1:
            raise UserError(f"EMA momentum must satisfy 0 <= start <= end <= 1, not start={start}, end={end}")
        self.encoder: Encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.steps = max(1, steps)
        self.start = start
        self.end = end
        self.normalise = normalise
        self.low_precision = low_precision
        self.sees = sees

    def momentum(self, step: int) -> float:
        """The momentum of the update after optimiser step `step`, 0-based."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)

    @torch.no_grad()
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The answers at each mask's target tokens, x `[B, M, Q, D]`; the whole observation is encoded once."""
        if self.sees == "asked":
            return [self._encode(obs, mask.target) for mask in masks]
        tokens = self._encode(obs)
        return [tokens.select(mask.target) for mask in masks]

    def _encode(self, obs: Tensor | Tokens, keep: Int[Tensor, "B M Q"] | None = None) -> Tokens:
        device = obs.x.device if isinstance(obs, Tokens) else obs.device
        with torch.autocast(device.type, torch.bfloat16) if self.low_precision else nullcontext():
            tokens: Tokens = self.encoder(obs, keep)
        if not self.normalise:
            return tokens
        return Tokens(F.layer_norm(tokens.x.float(), tokens.x.shape[-1:]), tokens.pos)

    @torch.no_grad()
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Move every parameter towards the encoder's: `mine = m * mine + (1 - m) * theirs`. Returns `{"ema": m}`."""
        momentum = self.momentum(step)
        mine: list[Tensor] = list(self.encoder.parameters())
        theirs: list[Tensor] = list(encoder.parameters())
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        return {"ema": momentum}

    def released(self, encoder: Encoder) -> Encoder:
        """The average: it is what the published models are evaluated with."""
        return self.encoder
