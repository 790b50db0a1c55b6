"""A small U-Net that is told a representation twice: as a whole, and on its lattice.

A vector that scales and shifts whole feature maps tells a convolutional network what there is, but not where: it cannot place a
small object. So the tokens come in a second time as a map that is stretched over the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition, Denoiser

UNFOLDED = 8
"""Side of the map that a single token is unfolded to: it has no lattice of its own."""
GROUPS = 8
"""Of group norm; widths are multiples of it."""


@final
class UNet(Denoiser):
    """Residual blocks, halving and doubling; the time and the pooled condition scale and shift, the condition's map is added.

    Conditions are standardised feature by feature, by what `fit` saw. To a single token belongs where or when it is: the same
    token leaves more open the farther ahead it was imagined. On a lattice, places are in the tokens.

    Args:
        channels: of a picture.
        tokens: the shape of a condition, (D, h, w).
        where: numbers that say where or when it is.
        width: channels at full resolution, a multiple of 8; they double once.
        levels: resolutions.
        blocks: residual blocks on each of them, down and up.
        patch: side of the squares of pixels that are taken together before anything else, to save work.

    Raises:
        UserError: a number is out of its range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        tokens: Sequence[int],
        where: int,
        width: int = 32,
        levels: int = 3,
        blocks: int = 1,
        patch: int = 1,
    ) -> None:
        super().__init__()
        if width < GROUPS or width % GROUPS or min(channels, levels, blocks, patch) < 1:
            raise UserError(
                f"width must be a multiple of {GROUPS}, channels, levels, blocks and patch at least 1: width={width}, "
                f"channels={channels}, levels={levels}, blocks={blocks}, patch={patch}"
            )
        dim, rows, cols = tokens
        told = 4 * width
        widths = [width, *[2 * width] * (levels - 1)]
        self.width, self.single, self.patch = width, rows * cols == 1, patch
        alone = dim + where if self.single else dim
        self.register_buffer("mean", torch.zeros(alone, 1, 1))
        self.register_buffer("std", torch.ones(alone, 1, 1))
        self.time = nn.Sequential(nn.Linear(2 * width, told), nn.SiLU(), nn.Linear(told, told))
        self.what = nn.Sequential(nn.Linear(dim + where, told), nn.SiLU(), nn.Linear(told, told))
        self.nothing = nn.Parameter(torch.zeros(told))
        self.map = unfolding(alone, 2 * told, width) if self.single else nn.Conv2d(dim, width, 1)
        self.first = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        self.down = nn.ModuleList(
            [Level(below, now, told, width, blocks) for below, now in zip([width, *widths[:-1]], widths, strict=True)]
        )
        self.middle = Residual(widths[-1], widths[-1], told)
        self.up = nn.ModuleList(
            [
                Level(below + now, now, told, width, blocks)
                for below, now in zip([widths[-1], *widths[:0:-1]], widths[::-1], strict=True)
            ]
        )
        self.last = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, channels * patch**2, 3, padding=1)
        )

    def fit(self, condition: Condition) -> None:
        """Take mean and deviation of each feature."""
        std, mean = torch.std_mean(self._whole(condition).float(), (0, 2, 3), keepdim=True)
        self.mean.copy_(mean[0])
        self.std.copy_(std[0].clamp_min(1e-4))

    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """See `Denoiser`.

        Raises:
            UserError: the picture is not made of whole patches.
        """
        if noisy.shape[-2] % self.patch or noisy.shape[-1] % self.patch:
            raise UserError(f"a picture of {tuple(noisy.shape[-2:])} cannot be cut into squares of {self.patch}")
        x = (self._whole(condition) - self.mean) / self.std
        told, where = self._told(x, t, condition.where, keep)
        h, kept = self.first(F.pixel_unshuffle(noisy, self.patch)), list[Tensor]()
        for number, level in enumerate(self.down):
            h = F.avg_pool2d(h, 2, ceil_mode=True) if number else h
            h = level(h, told, where)
            kept.append(h)
        h = self.middle(h, told)
        for level in self.up:
            beside = kept.pop()
            h = F.interpolate(h, size=beside.shape[-2:]) if h.shape != beside.shape else h
            h = level(torch.cat([h, beside], 1), told, where)
        return F.pixel_shuffle(self.last(h), self.patch)

    def _whole(self, condition: Condition) -> Float[Tensor, "B D h w"]:
        """The tokens; a single one with where it is."""
        return torch.cat([condition.x, condition.where[..., None, None]], 1) if self.single else condition.x

    def _told(
        self,
        x: Float[Tensor, "B D h w"],
        t: Float[Tensor, " B"],
        place: Float[Tensor, "B P"],
        keep: Bool[Tensor, " B"] | None,
    ) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B M r c"]]:
        """Time and condition as one vector, and the condition as a map; both know nothing of what is not kept."""
        pooled = x.mean((2, 3))
        what = self.what(pooled if self.single else torch.cat([pooled, place], 1))
        where = self.map(x[:, :, 0, 0]).view(len(x), -1, UNFOLDED, UNFOLDED) if self.single else self.map(x)
        if keep is not None:
            what = torch.where(keep[:, None], what, self.nothing)
            where = where * keep[:, None, None, None]
        return F.silu(self.time(waves(t, 2 * self.width)) + what), where


def unfolding(dim: int, hidden: int, width: int) -> nn.Module:
    """A vector as a map: where a thing lies may follow from several numbers together, so it is no linear one."""
    return nn.Sequential(
        *(nn.Linear(dim, hidden), nn.SiLU()),
        *(nn.Linear(hidden, hidden), nn.SiLU()),
        nn.Linear(hidden, width * UNFOLDED**2),
    )


@final
class Level(nn.Module):
    """What happens at one resolution: the map is added, then come residual blocks."""

    def __init__(self, before: int, width: int, told: int, mapped: int, blocks: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(mapped, before, 1)
        self.blocks = nn.ModuleList([Residual(width if block else before, width, told) for block in range(blocks)])

    def forward(
        self, x: Float[Tensor, "B C H W"], told: Float[Tensor, "B E"], where: Float[Tensor, "B M r c"]
    ) -> Float[Tensor, "B K H W"]:
        """The features at this resolution."""
        x = x + F.interpolate(self.map(where), size=x.shape[-2:], mode="bilinear")
        for block in self.blocks:
            x = block(x, told)
        return x


@final
class Residual(nn.Module):
    """Two convolutions; between them the features are scaled and shifted by what is told. It begins as the identity."""

    def __init__(self, before: int, width: int, told: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, before)
        self.first = nn.Conv2d(before, width, 3, padding=1)
        self.film = nn.Linear(told, 2 * width)
        self.bare = nn.GroupNorm(GROUPS, width, affine=False)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.past = nn.Identity() if before == width else nn.Conv2d(before, width, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "B C H W"], told: Float[Tensor, "B E"]) -> Float[Tensor, "B K H W"]:
        """The features and what is added to them."""
        scale, shift = self.film(told)[..., None, None].chunk(2, 1)
        h = self.first(F.silu(self.norm(x)))
        h = self.bare(h) * (1 + scale) + shift
        added: Tensor = self.past(x) + self.second(F.silu(h))
        return added


def waves(t: Float[Tensor, " B"], width: int) -> Float[Tensor, "B {width}"]:
    """Times from 0 to 1 as sines and cosines, from half a wave to a thousand."""
    rates = torch.exp(torch.linspace(0, math.log(1000), width // 2, device=t.device)) * math.pi
    angle = t[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], 1)
