"""What of a modality is decoded: the one place of imagination where a modality shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition
from worldjepa.jepa import JEPA
from worldjepa.types import Masks, Tokens


class Scenes(NamedTuple):
    """B things to decode: what the predictor says of each, what the target encoder says, and what there is to see.

    A subject always gives the same shapes but for B.
    """

    predicted: Float[Tensor, "B D h w"]
    """The predicted tokens of the imagined part on its lattice; further axes of it lie side by side in D."""
    true: Float[Tensor, "B D h w"]
    """The right answers there."""
    where: Float[Tensor, "B P"]
    """Numbers that say where the part lies, or when, from 0 to 1: of a block top, left, height and width."""
    picture: Float[Tensor, "B C H W"]
    """What there is to see of the part, from -1 to 1: a crop, a spectrogram, a stack of frames in C."""
    seen: Bool[Tensor, "B N"]
    """Which tokens of the whole observation the encoder saw."""

    def condition(self, of: str = "predicted") -> Condition:
        """What is decoded: the `predicted` tokens or the `target`'s."""
        return Condition(self.predicted if of == "predicted" else self.true, self.where)

    def pick(self, rows: Tensor | slice) -> Scenes:
        """Some of them."""
        return Scenes(*(part[rows] for part in self))


class Decoded(NamedTuple):
    """What decoders make of B conditions."""

    samples: Float[Tensor, "B S C H W"]
    """Draws of the diffusion model."""
    control: Float[Tensor, "B C H W"]
    """What regression draws."""


Decode = Callable[[Condition], Decoded]
"""Draws what conditions stand for."""


class Tile(NamedTuple):
    """One picture of a sheet."""

    caption: str
    pixels: UInt8[ndarray, "height width 3"]


class Besides(NamedTuple):
    """What is written beside the sheet."""

    files: Mapping[str, Callable[[Path], object]]
    """By their paths below the folder, what writes each of them."""
    notices: Sequence[str] = ()
    """What cannot be written, and why: a line each."""


class Subject(ABC):
    """What of a modality is decoded, and how it is shown.

    A subject is made for a model and a shape of observations, and refuses in its constructor what it is not for.
    """

    @abstractmethod
    def scenes(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator) -> Scenes:
        """Ask the model about a batch of observations; what is asked is taken from `rng`."""

    @abstractmethod
    def rows(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> list[list[Tile]]:
        """Rows of pictures that show what is imagined of a batch beside what there is, of one or more rows an observation."""

    def besides(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> Besides:
        """What else there is to see or to hear of the same batch, given a generator in the same state: by default nothing."""
        return Besides({})

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides its scenes besides model and data, as plain values."""


class Part(NamedTuple):
    """What of an observation is hidden and imagined: a block of it, or its end."""

    block: float = 0.2
    """Share of the plane that a block covers."""
    blocks: int = 2
    """Blocks that are hidden; the first is imagined."""
    future: int = 0
    """Frames at the end that are imagined in place of a block."""


class Imaginable(ABC):
    """A tokenizer that knows how what it cuts into tokens is imagined and shown: the seam that a modality plugs into.

    What is needed for that alone is imported in the method.
    """

    @abstractmethod
    def subject(self, model: JEPA, shape: Sequence[int], part: Part) -> Subject:
        """The subject for a model that holds this tokenizer and observations of this shape.

        Raises:
            UserError: such observations, or this part of them, cannot be shown.
        """


class Asked(NamedTuple):
    """What a model says at the target positions, and the right answers, x `[B, M, Q, D]`."""

    predicted: Tokens
    true: Tokens


@torch.no_grad()
def ask(model: JEPA, obs: Tensor, masks: Masks, cond: Tokens | None = None) -> Asked:
    """Let a model predict, as in training.

    Raises:
        UserError: what it predicts cannot be decoded.
    """
    (answer,) = model.target(obs, [masks])
    if not answer.x.shape[-1]:
        raise UserError("this model compares views with one another: it predicts no part of what it has not seen")
    context = model.encoder(obs, keep=masks.context)
    predicted: Tokens = model.predictor(context, answer.pos, cond, 0)
    q = masks.target.shape[-1]  # answers to further questions come before those of the positions
    return Asked(*(Tokens(tokens.x[..., -q:, :].float(), tokens.pos[..., -q:, :]) for tokens in (predicted, answer)))
