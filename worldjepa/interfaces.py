"""The six questions that a method answers. Each interface has one abstract method; subclasses are final.

| interface | its question |
|---|---|
| `Tokenizer` | how does an observation become tokens on a lattice? (the only class that knows the modality) |
| `Encoder` | what do the visible tokens mean? |
| `Predictor` | what stands at the positions that were asked? |
| `MaskSampler` | what is seen, and what is asked? |
| `TargetEncoder` | what is the right answer? |
| `Objective` | how far off was the prediction? |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.types import Grid, Masks, Tokens


class Tokenizer(nn.Module, ABC):
    """Cuts an observation into tokens. The one place where a modality shows."""

    dim: int
    """Width of the tokens, D."""

    @abstractmethod
    def forward(self, obs: Tensor) -> Tokens:
        """Return tokens x `[B, N, D]` with their positions on `self.grid(obs.shape[1:])`, in row-major order."""

    def visible(self, obs: Tensor, keep: Int[Tensor, "B C K"]) -> Tokens:
        """Only the kept tokens of each context set, x `[B, C, K, D]`: the same as `self(obs).select(keep)`, the default.

        A tokenizer that can make single tokens overrides this, so that tokens that nobody sees cost nothing.
        """
        return cast(Tokens, self(obs)).select(keep)

    @abstractmethod
    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice for an observation of this shape (without the batch axis).

        Raises:
            ValueError: the shape cannot be cut into whole tokens.
        """

    @property
    def piece_dim(self) -> int:
        """Width of `pieces`, P."""
        raise UserError(f"{type(self).__name__} does not say what its tokens are made of, which target=pixels asks for")

    def pieces(self, obs: Tensor) -> Tokens:
        """What each token is made of, before anything is learnt of it: the normalised values under it, x `[B, N, P]`.

        By default a tokenizer does not say.

        Raises:
            UserError: it does not.
        """
        raise UserError(f"{type(self).__name__} does not say what its tokens are made of, which target=pixels asks for")

    def fit(self, obs: Tensor) -> None:
        """Take from a sample of the training data what must be known about them, such as their mean, and keep it in buffers.

        Called once, before the first step of a new run; a checkpoint brings it along. By default: nothing.
        """


class Encoder(nn.Module, ABC):
    """Turns an observation, or the visible part of it, into representations."""

    dim: int
    """Width of the representations, D."""

    @abstractmethod
    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode everything (x `[B, N, D]`), or only the kept tokens of each context set (x `[B, C, K, D]`).

        Context sets never attend to one another.
        """

    @abstractmethod
    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice that the representations of an observation of this shape stand on."""

    @property
    def piece_dim(self) -> int:
        """Width of `pieces`, P."""
        raise UserError(f"{type(self).__name__} does not say what its tokens are made of, which target=pixels asks for")

    def pieces(self, obs: Tensor) -> Tokens:
        """See `Tokenizer.pieces`.

        Raises:
            UserError: the encoder does not say, the default.
        """
        raise UserError(f"{type(self).__name__} does not say what its tokens are made of, which target=pixels asks for")

    def loaded(self) -> Encoder:
        """The encoder that released weights go into: by default this one, of a wrapper the one that it wraps."""
        return self

    def coordinates(self, obs_shape: Sequence[int]) -> Float[Tensor, "N 3"]:
        """Where the representations of an observation of this shape stand: by default, the coordinates of the lattice."""
        return self.grid(obs_shape).pos()

    def layers(self, obs: Tensor | Tokens, wanted: Sequence[int] | None = None, normed: bool = True) -> list[Tokens]:
        """What the layers make of a whole observation, x `[B, N, D]` each, from one pass; the last is what `forward` returns.

        By default an encoder is one layer.

        Args:
            obs: observations, or the tokens of the level below.
            wanted: which layers, from 0, or from -1 backwards; all by default.
            normed: each layer comes through the final norm, where the encoder has one; otherwise none does.

        Raises:
            UserError: there is no such layer.
        """
        return [cast(Tokens, self(obs)) for _ in which_layers(wanted, 1)]

    def stages(self) -> list[list[nn.Parameter]]:
        """All parameters, in the order in which an observation passes them: what embeds, each layer, what follows the last.

        Fine-tuning learns early stages more slowly. By default all are one stage.
        """
        return [list(self.parameters())]


def which_layers(wanted: Sequence[int] | None, count: int) -> list[int]:
    """The layers `wanted`, of `count`, counted from 0; None means all.

    Raises:
        UserError: there is no such layer.
    """
    if wanted is None:
        return list(range(count))
    for layer in wanted:
        if not -count <= layer < count:
            raise UserError(f"there is no layer {layer}: this encoder has {count}, 0 to {count - 1} or -1 to -{count}")
    return [layer % count for layer in wanted]


class Predictor(nn.Module, ABC):
    """Answers questions about positions from what the encoder saw."""

    @abstractmethod
    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Predict the representations at `query` from context x `[B, C, K, D]`; C is 1 or M. Returns x `[B, M, Q, D]`.

        `mask` says which of the step's masks asks, for predictors that tell them apart.
        """

    def members(self) -> Sequence[Predictor]:
        """Those that are trained, each by a loss of its own: by default itself alone."""
        return [self]


class MaskSampler(ABC):
    """Draws what is seen and what is asked. A pure function of its arguments: no counters, no global generator."""

    @abstractmethod
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw masks for `batch` samples on `grid`, all randomness taken from `rng`.

        Raises:
            ValueError: the settings cannot be met on this grid; the message says which numbers clash.
        """

    def at(self, progress: float) -> MaskSampler:
        """The sampler for a step at this share of the run, from 0 to below 1. By default, the same for all of them."""
        return self


class TargetEncoder(nn.Module, ABC):
    """Gives the answers that the predictor should have found."""

    @abstractmethod
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """Return for each of the masks the answer, x `[B, M, Q, D']`, at the positions of its targets.

        Answers to further questions may come before them, at positions of their own: the predictor is asked at the positions
        of the answers.
        """

    @classmethod
    def width(cls, encoder: Encoder) -> int:
        """Width of the answers, D', where `encoder` is trained: by default that of its representations."""
        return encoder.dim

    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Follow the encoder after optimiser step `step` (0-based); return numbers worth logging. By default: nothing."""
        return {}

    def released(self, encoder: Encoder) -> Encoder:
        """The encoder to use once training is over: the one that was trained, unless the target keeps a better one."""
        return encoder


class Objective(nn.Module, ABC):
    """Compares prediction and answer."""

    @property
    def least_views(self) -> int:
        """How many views of an observation it must see side by side. One, unless it says otherwise."""
        return 1

    @abstractmethod
    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return named scalar terms, already weighted; the loss is their sum.

        `pred` and `target` have x `[B, M, Q, D]`, `context` has x `[B, C, K, D]`; `cond` holds what the prediction was
        conditioned on.
        """
