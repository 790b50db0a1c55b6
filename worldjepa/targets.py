"""Target encoders: where the answers come from."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError, unknown
from worldjepa.interfaces import Encoder, TargetEncoder
from worldjepa.types import Masks, Tokens

Sight = Literal["all", "asked"]
"""What the target encoder sees: the whole observation, or of each target set only its own tokens."""


class Averaged(TargetEncoder):
    """Answers from an exponential moving average of the encoder, which is also what is used once training is over.

    Args:
        encoder: the encoder to follow; it is copied.
        steps: length of the momentum schedule in optimiser steps.
        start: momentum at step 0.
        end: momentum at step `steps`, reached linearly.

    Raises:
        UserError: a momentum is out of its range.
    """

    def __init__(self, encoder: Encoder, steps: int, start: float, end: float) -> None:
        super().__init__()
        if not 0 <= start <= end <= 1:
            raise UserError(f"EMA momentum must satisfy 0 <= start <= end <= 1, not start={start}, end={end}")
        self.encoder: Encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.steps = max(1, steps)
        self.start = start
        self.end = end

    def momentum(self, step: int) -> float:
        """The momentum of the update after optimiser step `step`, 0-based."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)

    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Move every parameter towards the encoder's: `mine = m * mine + (1 - m) * theirs`. Returns `{"ema": m}`."""
        momentum = self.momentum(step)
        follow(self.encoder, encoder, momentum)
        return {"ema": momentum}

    def released(self, encoder: Encoder) -> Encoder:
        """The average: it is what the published models are evaluated with."""
        return self.encoder


@torch.no_grad()
def follow(mine: nn.Module, theirs: nn.Module, momentum: float) -> None:
    """Move every parameter of a module towards another's: `mine = m * mine + (1 - m) * theirs`."""
    torch._foreach_lerp_(list(mine.parameters()), list(theirs.parameters()), 1.0 - momentum)


@final
class EMA(Averaged):
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
        if sees not in get_args(Sight):
            raise unknown("target.sees", sees, get_args(Sight))
        super().__init__(encoder, steps, start, end)
        self.normalise = normalise
        self.low_precision = low_precision
        self.sees = sees

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
        return layer_normed(tokens) if self.normalise else tokens


@final
class TopLayers(Averaged):
    """A moving average of the encoder; its answers are the mean of what comes out of its upper layers.

    Before the mean each feature of a layer is normalised over the tokens of an observation (instance norm), after it each
    token over its features. However many masks a step has, the observation is encoded once.

    Args:
        encoder: the encoder to follow; it is copied.
        steps: length of the momentum schedule in optimiser steps.
        start: momentum at step 0.
        end: momentum at step `steps`, reached linearly.
        share: which part of the layers counts, from the top; 0.8 is 10 of 12.

    Raises:
        UserError: a number is out of its range.

    Source: data2vec 2.0 (arXiv 2212.07525), section 3.2.
    """

    def __init__(
        self, encoder: Encoder, steps: int, start: float = 0.9998, end: float = 0.99999, share: float = 0.8
    ) -> None:
        super().__init__(encoder, steps, start, end)
        if not 0 < share <= 1:
            raise UserError(f"target.share must be above 0 and at most 1, not {share}")
        self.share = share

    @torch.no_grad()
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The answers at each mask's target tokens, x `[B, M, Q, D]`, in float32."""
        layers = self.encoder.layers(obs, normed=False)
        upper = layers[-max(1, round(self.share * len(layers))) :]
        x = torch.stack([instance_normed(layer.x) for layer in upper]).mean(0)
        tokens = layer_normed(Tokens(x, upper[0].pos))
        return [tokens.select(mask.target) for mask in masks]


@final
class Shared(TargetEncoder):
    """The encoder itself: its answers carry a gradient, or with `detach` none.

    With a gradient something must keep the representations from collapsing: variance and covariance terms or SIGReg, and where
    there are actions inverse dynamics.

    Args:
        encoder: the encoder.
        detach: stop the gradient at the answers.
        normalise: layer-norm each answer over its features, without affine parameters.
        sees: `all` of the observation, or of each target set only the tokens `asked` for; encoders that look at every frame by
            itself give the same answers for less work.

    Source: with a gradient VICReg (arXiv 2105.04906) and LeWorldModel (arXiv 2603.19312), without SimSiam (arXiv 2011.10566).
    """

    def __init__(self, encoder: Encoder, detach: bool = False, normalise: bool = False, sees: Sight = "asked") -> None:
        super().__init__()
        if sees not in get_args(Sight):
            raise unknown("target.sees", sees, get_args(Sight))
        self._theirs = (encoder,)  # in a tuple: it is no part of this one, and its weights are saved once
        self.detach = detach
        self.normalise = normalise
        self.sees = sees

    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The answers at each mask's target tokens, x `[B, M, Q, D]`."""
        (encoder,) = self._theirs
        with torch.no_grad() if self.detach else nullcontext():
            if self.sees == "asked":
                answers = [encoder(obs, mask.target) for mask in masks]
            else:
                whole: Tokens = encoder(obs)
                answers = [whole.select(mask.target) for mask in masks]
        return [layer_normed(answer) for answer in answers] if self.normalise else answers


@final
class Frozen(TargetEncoder):
    """The encoder itself, which this freezes: neither contexts nor answers ever move, and only the predictor learns.

    The encoder's weights come from elsewhere: `run.init_from=`.

    Args:
        encoder: the encoder; its parameters stop asking for gradients.
        normalise: layer-norm each answer over its features, without affine parameters (V-JEPA 2-AC).
        sees: see `Shared`.

    Source: DINO-WM (arXiv 2411.04983), V-JEPA 2-AC (arXiv 2506.09985).
    """

    def __init__(self, encoder: Encoder, normalise: bool = False, sees: Sight = "asked") -> None:
        super().__init__()
        encoder.requires_grad_(False)
        self.answers = Shared(encoder, True, normalise, sees)

    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The answers at each mask's target tokens, x `[B, M, Q, D]`."""
        answers: list[Tokens] = self.answers(obs, masks)
        return answers


@final
class Pixels(TargetEncoder):
    """The answers are what was observed: the values under the tokens that are asked for, pixels or spectrogram cells.

    Args:
        encoder: its tokenizer says what its tokens are made of.
        normalise: standardise the values of each token by their own mean and (unbiased) variance.

    Raises:
        UserError: the encoder cannot say.

    Source: MAE (arXiv 2111.06377), section 3, "norm_pix".
    """

    def __init__(self, encoder: Encoder, normalise: bool = True) -> None:
        super().__init__()
        if normalise and encoder.piece_dim < 2:
            raise UserError("target.normalise=true needs tokens of at least 2 values")
        self._theirs = (encoder,)  # in a tuple: it is no part of this one, and its weights are saved once
        self.normalise = normalise

    @classmethod
    def width(cls, encoder: Encoder) -> int:
        """As many values as a token is made of."""
        return encoder.piece_dim

    @torch.no_grad()
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The values at each mask's target tokens, x `[B, M, Q, P]`, in float32."""
        if isinstance(obs, Tokens):
            raise UserError("target=pixels needs observations; the tokens of a level below are none")
        (encoder,) = self._theirs
        pieces = encoder.pieces(obs)
        answers = [pieces.select(mask.target) for mask in masks]
        return [Tokens(standardised(x) if self.normalise else x.float(), pos) for x, pos in answers]


@final
class Mutual(TargetEncoder):
    """No answers: the views of a sample answer one another, and the objective compares their predictions.

    Args:
        encoder: says where tokens stand.

    Source: VICReg (arXiv 2105.04906), LeJEPA (arXiv 2511.08544): one network, a gradient through every view, no teacher.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._theirs = (encoder,)

    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """The positions of the targets, with answers of width 0, x `[B, M, Q, 0]`."""
        if isinstance(obs, Tokens):
            return [Tokens(at.x[..., :0], at.pos) for at in (obs.select(mask.target) for mask in masks)]
        (encoder,) = self._theirs
        pos = encoder.coordinates(obs.shape[1:]).to(obs.device)  # [N, 3]
        return [Tokens(pos.new_empty(*mask.target.shape, 0), pos[mask.target]) for mask in masks]


def instance_normed(x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """Each feature in float32, normed over the tokens of an observation, without affine parameters."""
    features = x.float().transpose(1, 2)  # [B, D, N]
    return F.layer_norm(features, features.shape[-1:]).transpose(1, 2)


def standardised(x: Float[Tensor, "*b P"]) -> Float[Tensor, "*b P"]:
    """Each row in float32, less its mean and over its deviation."""
    var, mean = torch.var_mean(x.float(), -1, keepdim=True)
    return (x.float() - mean) * (var + 1e-6).rsqrt()


def layer_normed(tokens: Tokens) -> Tokens:
    """The tokens in float32, each normed over its features, without affine parameters."""
    return Tokens(F.layer_norm(tokens.x.float(), tokens.x.shape[-1:]), tokens.pos)
