"""Images into tokens: one token a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Tokenizer
from worldjepa.types import Grid, Tokens

STATISTICS = {
    1: ((0.449,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of ImageNet in [0, 1], for grey and for RGB images."""


class Patches(Tokenizer):
    """Linear projection of square patches that do not overlap (ViT, arXiv 2010.11929).

    Args:
        patch: side of a patch in pixels.
        dim: width of the tokens.
        channels: channels of the images.
        mean: mean of each channel in [0, 1], by default ImageNet's; needed where channels are neither 1 nor 3.
        std: standard deviation of each channel, likewise.

    Raises:
        UserError: a number is not positive, or mean or std do not fit the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        patch: int,
        dim: int,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if min(patch, dim, channels) < 1:
            raise UserError(
                f"patch, dim and channels must be at least 1: patch={patch}, dim={dim}, channels={channels}"
            )
        self.patch, self.dim, self.channels = patch, dim, channels
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)
        default_mean, default_std = STATISTICS.get(channels, (None, None))
        self.register_buffer("mean", _statistic("mean", mean, default_mean, channels), persistent=False)
        self.register_buffer("std", _statistic("std", std, default_std, channels), persistent=False)
        if std is not None and not all(value > 0 for value in std):
            raise UserError(f"std must be positive in every channel: std={list(std)}")

    def forward(self, obs: Num[Tensor, "B C H W"]) -> Tokens:
        """Return tokens x `[B, N, D]`, row-major, with their positions `[B, N, 3]`.

        uint8 images are scaled to [0, 1] and normalised; floating-point ones are taken as normalised already.

        Raises:
            UserError: the images are of another integer type, or do not divide into patches.
        """
        grid = self.grid(obs.shape[1:])
        x = self.proj(self._normalised(obs)).flatten(2).transpose(1, 2)  # [B, N, D]
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    def visible(self, obs: Num[Tensor, "B C H W"], keep: Int[Tensor, "B S K"]) -> Tokens:
        """The kept tokens of each of S sets, x `[B, S, K, D]`; patches that nobody sees cost nothing."""
        grid, p = self.grid(obs.shape[1:]), self.patch
        b, s, k = keep.shape
        cells = obs.unflatten(2, (grid.h, p)).unflatten(4, (grid.w, p)).permute(0, 2, 4, 1, 3, 5)  # [B, h, w, C, p, p]
        rows = torch.arange(b, device=obs.device)[:, None]
        patches = cells.flatten(1, 2)[rows, keep.flatten(1)].flatten(0, 1)  # [B*S*K, C, p, p]
        x = F.linear(self._normalised(patches).flatten(1), self.proj.weight.flatten(1), self.proj.bias)
        return Tokens(x.view(b, s, k, self.dim), grid.pos(obs.device)[keep])

    @property
    def piece_dim(self) -> int:
        """The pixels of a patch times the channels."""
        return self.channels * self.patch**2

    def pieces(self, obs: Num[Tensor, "B C H W"]) -> Tokens:
        """The normalised pixels of each patch, x `[B, N, patch * patch * C]`: row by row, channels fastest."""
        grid, p = self.grid(obs.shape[1:]), self.patch
        cells = self._normalised(obs).unflatten(2, (grid.h, p)).unflatten(4, (grid.w, p))  # [B, C, h, p, w, p]
        x = cells.permute(0, 2, 4, 3, 5, 1).reshape(len(obs), grid.size, self.piece_dim)
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice `(1, H / patch, W / patch)` for images of shape `(C, H, W)`.

        Raises:
            UserError: the number of axes or channels is wrong, or height or width is not a multiple of the patch.
        """
        if len(obs_shape) != 3:
            raise UserError(f"an image has the shape (channels, height, width), not {tuple(obs_shape)}")
        channels, height, width = obs_shape
        if channels != self.channels:
            raise UserError(f"the images have {channels} channel(s), but the tokenizer was built for {self.channels}")
        return Grid(1, self._cells("height", height), self._cells("width", width))

    def _cells(self, axis: str, extent: int) -> int:
        cells, rest = divmod(extent, self.patch)
        if not cells:
            raise UserError(
                f"{axis} {extent} is less than one patch of {self.patch}: the nearest {axis} that fits is {self.patch}"
            )
        if rest:
            below = extent - rest
            raise UserError(
                f"{axis} {extent} cannot be cut into patches of {self.patch}: "
                f"the nearest {axis}s that fit are {below} and {below + self.patch}"
            )
        return cells

    def _normalised(self, obs: Num[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        if obs.is_floating_point():
            return obs
        if obs.dtype != torch.uint8:
            raise UserError(f"images must be uint8 or floating-point, not {obs.dtype}")
        scaled = (obs.float() / 255 - self.mean.float()) / self.std.float()
        return scaled.to(self.proj.weight.dtype)


def _statistic(
    name: str, given: Sequence[float] | None, default: Sequence[float] | None, channels: int
) -> Float[Tensor, "C 1 1"]:
    values = default if given is None else given
    if values is None:
        raise UserError(f"{name} has no default for {channels} channels: give one number per channel")
    if len(values) != channels:
        raise UserError(f"{name} must have one number per channel: {len(values)} numbers, {channels} channel(s)")
    return torch.tensor([float(value) for value in values], dtype=torch.float32).view(-1, 1, 1)
