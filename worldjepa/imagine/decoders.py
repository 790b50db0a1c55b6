"""Decoders: from representations, such as a predictor's, back to what they are representations of."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.imagine.schedule import ddim, mix, noisier


class Condition(NamedTuple):
    """What is decoded: tokens on their lattice, and numbers that say where or when it is, from 0 to 1.

    What stands on a lattice of more than two axes lies side by side in D: the frames of a clip, for one.
    """

    x: Float[Tensor, "B D h w"]
    where: Float[Tensor, "B P"]

    def pick(self, rows: Tensor | slice) -> Condition:
        """Some of them."""
        return Condition(self.x[rows], self.where[rows])

    def repeat(self, count: int) -> Condition:
        """Each of them so many times in a row."""
        return Condition(self.x.repeat_interleave(count, 0), self.where.repeat_interleave(count, 0))


class Denoiser(nn.Module, ABC):
    """What a decoder asks: a network that sees a noisy picture and a condition."""

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Say v at time t; of those that are not kept nothing but the picture is looked at. None keeps all."""

    def fit(self, condition: Condition) -> None:
        """Take from the training data what must be known of conditions, and keep it in buffers. By default: nothing."""


class Decoder(nn.Module, ABC):
    """Draws what representations stand for: pictures `[C, H, W]` from -1 to 1.

    The network sees pictures standardised channel by channel: where most of a picture is empty, noise would drown the rest.

    Args:
        network: draws.
        shape: of a picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Denoiser, shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.shape = tuple(shape)
        self.register_buffer("mean", torch.zeros(self.shape[0], 1, 1))
        self.register_buffer("std", torch.ones(self.shape[0], 1, 1))

    def fit(self, picture: Float[Tensor, "N C H W"], condition: Condition) -> None:
        """Take from the training data what must be known before the first step."""
        std, mean = torch.std_mean(picture, (0, 2, 3), correction=0)
        self.mean.copy_(mean[:, None, None])
        self.std.copy_(std.clamp_min(1e-2)[:, None, None])
        self.network.fit(condition)

    def standardised(self, picture: Float[Tensor, "*b C H W"]) -> Float[Tensor, "*b C H W"]:
        """Pictures as the network sees them."""
        return (picture - self.mean) / self.std

    def restored(self, drawn: Float[Tensor, "*b C H W"]) -> Float[Tensor, "*b C H W"]:
        """Pictures from what the network draws."""
        return (drawn * self.std + self.mean).clamp(-1, 1)

    @abstractmethod
    def loss(self, picture: Float[Tensor, "B C H W"], condition: Condition, rng: torch.Generator) -> Float[Tensor, ""]:
        """What is made less in training; all randomness, drawn on the CPU, is taken from `rng`."""

    @abstractmethod
    def sample(self, condition: Condition, count: int, rng: torch.Generator) -> Float[Tensor, "B S C H W"]:
        """So many pictures of each condition: a function of weights, condition and generator."""


@final
class Diffusion(Decoder):
    """A conditional diffusion model: its samples are draws from what a representation leaves open.

    Args:
        network: says v.
        shape: of a picture.
        dropout: share of the training pictures that are shown without their condition, so that the network can do without.
        steps: of sampling.
        guidance: how far samples go from what is said without the condition (0) to what is said with it (1), and beyond.
        shift: so many times as much noise as an even schedule has, in training and in sampling.

    Raises:
        UserError: a number is out of its range.

    Source: RCDM (arXiv 2112.09164), with which I-JEPA (arXiv 2301.08243, section 8) shows its predictor; classifier-free
    guidance (arXiv 2207.12598).
    """

    def __init__(
        self,
        network: Denoiser,
        shape: Sequence[int],
        dropout: float = 0.1,
        steps: int = 25,
        guidance: float = 1.0,
        shift: float = 4.0,
    ) -> None:
        super().__init__(network, shape)
        if not 0 <= dropout < 1 or steps < 1 or not shift > 0:
            raise UserError(
                "dropout must be in [0, 1), steps at least 1 and shift above 0: "
                f"dropout={dropout}, steps={steps}, shift={shift}"
            )
        self.dropout, self.steps, self.guidance, self.shift = dropout, steps, guidance, shift

    def loss(self, picture: Float[Tensor, "B C H W"], condition: Condition, rng: torch.Generator) -> Float[Tensor, ""]:
        """The mean squared error of v at random times."""
        b, device = len(picture), picture.device
        noise = torch.randn(picture.shape, generator=rng).to(device)
        # One time in each of b equal parts of [0, 1]: each is still uniform, and the mean over a batch varies less.
        t = noisier((torch.arange(b) + torch.rand(b, generator=rng)) / b, self.shift).to(device)
        keep = (torch.rand(b, generator=rng) >= self.dropout).to(device)
        noisy, v = mix(self.standardised(picture), noise, t)
        return F.mse_loss(self.network(noisy, t, condition, keep), v)

    @torch.no_grad()
    def sample(self, condition: Condition, count: int, rng: torch.Generator) -> Float[Tensor, "B S C H W"]:
        """Draw noise and take it away."""
        b = len(condition.x)
        noise = torch.randn(b * count, *self.shape, generator=rng).to(condition.x.device)
        asked = condition.repeat(count)
        low, high = ((bound - self.mean) / self.std for bound in (-1.0, 1.0))
        drawn = ddim(
            noise, lambda x, t: guided(self.network, self.guidance, x, t, asked), self.steps, low, high, self.shift
        )
        return self.restored(drawn).view(b, count, *self.shape)


@final
class Regression(Decoder):
    """The control: the same network without noise, by mean squared error. It draws the mean of what could be, which is blurred.

    Args:
        network: draws; it sees an empty picture at time 0.
        shape: of a picture.
    """

    def loss(self, picture: Float[Tensor, "B C H W"], condition: Condition, rng: torch.Generator) -> Float[Tensor, ""]:
        """The mean squared error."""
        return F.mse_loss(self._drawn(condition), self.standardised(picture))

    @torch.no_grad()
    def sample(self, condition: Condition, count: int, rng: torch.Generator) -> Float[Tensor, "B S C H W"]:
        """The same picture so many times."""
        return self.restored(self._drawn(condition))[:, None].expand(-1, count, -1, -1, -1)

    def _drawn(self, condition: Condition) -> Float[Tensor, "B C H W"]:
        b, device = len(condition.x), condition.x.device
        empty = torch.zeros(b, *self.shape, device=device)
        drawn: Tensor = self.network(empty, torch.zeros(b, device=device), condition)
        return drawn


def averaged(decoder: Decoder) -> Decoder:
    """A copy of a decoder that will follow it as a moving average."""
    return copy.deepcopy(decoder).requires_grad_(False).eval()


def guided(
    network: Denoiser, guidance: float, noisy: Float[Tensor, "B C H W"], t: Float[Tensor, " B"], condition: Condition
) -> Float[Tensor, "B C H W"]:
    """What a network says under guidance, see `Diffusion`; what does not count is not asked for."""
    told: Tensor = noisy if guidance == 0 else network(noisy, t, condition)
    if guidance == 1:
        return told
    without: Tensor = network(noisy, t, condition, torch.zeros(len(noisy), dtype=torch.bool, device=noisy.device))
    return without if guidance == 0 else without + guidance * (told - without)
