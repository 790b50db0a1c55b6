"""Target encoders: where the answers come from."""

from __future__ import annotations

import copy
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, TargetEncoder
from worldjepa.types import Masks, Tokens


@final
class EMA(TargetEncoder):
    """An exponential moving average of the encoder sees the whole observation; its answers are layer-normed per token.

    Args:
        encoder: the encoder to follow; it is copied.
        steps: length of the momentum schedule in optimiser steps.
        start: momentum at step 0.
        end: momentum at step `steps`, reached linearly.
        normalise: layer-norm each answer over its features, without affine parameters.
        low_precision: encode in bfloat16 even where the rest of the step does not. No gradient passes here, so only the answers
            are rounded; on a processor that makes the pass about twice as fast.

    Source: I-JEPA (arXiv 2301.08243), `src/train.py` of its repository.
    """

    def __init__(
        self,
        encoder: Encoder,
        steps: int,
        start: float = 0.996,
        end: float = 1.0,
        normalise: bool = True,
        low_precision: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= start <= end <= 1:
            raise UserError(f"EMA momentum must satisfy 0 <= start <= end <= 1, not start={start}, end={end}")
        self.encoder: Encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.steps = max(1, steps)
        self.start = start
        self.end = end
        self.normalise = normalise
        self.low_precision = low_precision

    def momentum(self, step: int) -> float:
        """The momentum of the update after optimiser step `step`, 0-based."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)

    @torch.no_grad()
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """Encode the whole observation once and pick each mask's target tokens, x `[B, M, Q, D]`."""
        tokens = self._encode(obs)
        if self.normalise:
            tokens = Tokens(F.layer_norm(tokens.x.float(), tokens.x.shape[-1:]), tokens.pos)
        return [tokens.select(mask.target) for mask in masks]

    def _encode(self, obs: Tensor | Tokens) -> Tokens:
        if not self.low_precision:
            return cast(Tokens, self.encoder(obs))
        device = obs.x.device if isinstance(obs, Tokens) else obs.device
        with torch.autocast(device.type, torch.bfloat16):
            return cast(Tokens, self.encoder(obs))

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
