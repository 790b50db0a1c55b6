"""Clips into tokens: one token a tubelet, a patch that lasts a few frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.imagine.subject import Imaginable, Part, Subject
from worldjepa.interfaces import Tokenizer
from worldjepa.jepa import JEPA
from worldjepa.types import Grid, Tokens

STATISTICS = {
    1: ((0.449,), (0.226,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of ImageNet in [0, 1], for grey and for RGB: what V-JEPA normalises frames with."""


class Tubelets(Tokenizer, Imaginable):
    """Linear projection of tubelets that do not overlap (ViViT, arXiv 2103.15691; V-JEPA).

    An image is a clip of one frame: it is repeated until it fills one tubelet, so that one encoder can learn from both.

    Args:
        patch: side of a tubelet in pixels.
        dim: width of the tokens.
        frames: length of a tubelet in frames.
        channels: channels of the frames.
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
        frames: int = 2,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if min(patch, dim, frames, channels) < 1:
            raise UserError(
                f"patch, dim, frames and channels must be at least 1: patch={patch}, dim={dim}, frames={frames}, "
                f"channels={channels}"
            )
        self.patch, self.dim, self.frames, self.channels = patch, dim, frames, channels
        size = (frames, patch, patch)
        self.proj = nn.Conv3d(channels, dim, kernel_size=size, stride=size)
        default_mean, default_std = STATISTICS.get(channels, (None, None))
        self.register_buffer("mean", _statistic("mean", mean, default_mean, channels), persistent=False)
        self.register_buffer("std", _statistic("std", std, default_std, channels), persistent=False)
        if std is not None and not all(value > 0 for value in std):
            raise UserError(f"std must be positive in every channel: std={list(std)}")

    def forward(self, obs: Num[Tensor, "B C T H W"] | Num[Tensor, "B C H W"]) -> Tokens:
        """Return tokens x `[B, N, D]`, frame by frame and row-major, with their positions `[B, N, 3]`.

        uint8 clips are scaled to [0, 1] and normalised; floating-point ones are taken as normalised already.

        Raises:
            UserError: the clips are of another integer type, or do not divide into tubelets.
        """
        grid = self.grid(obs.shape[1:])
        x = self.proj(self._clips(obs)).flatten(2).transpose(1, 2)  # [B, N, D]
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    @property
    def piece_dim(self) -> int:
        """The pixels of a tubelet times the channels."""
        return self.channels * self.frames * self.patch**2

    def pieces(self, obs: Num[Tensor, "B C T H W"] | Num[Tensor, "B C H W"]) -> Tokens:
        """The normalised pixels of each tubelet, frame by frame and row by row, channels fastest."""
        grid, p = self.grid(obs.shape[1:]), self.patch
        cells = self._clips(obs).unflatten(2, (grid.t, self.frames)).unflatten(4, (grid.h, p)).unflatten(6, (grid.w, p))
        x = cells.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(len(obs), grid.size, self.piece_dim)
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice `(T / frames, H / patch, W / patch)` for clips `(C, T, H, W)`; `(1, ...)` for images `(C, H, W)`.

        Raises:
            UserError: the number of axes or channels is wrong, or an extent is not a multiple of the tubelet's.
        """
        if len(obs_shape) not in (3, 4):
            raise UserError(f"a clip has the shape (channels, frames, height, width), not {tuple(obs_shape)}")
        channels, *times, height, width = obs_shape
        if channels != self.channels:
            raise UserError(f"the clips have {channels} channel(s), but the tokenizer was built for {self.channels}")
        still = not times or times[0] == 1
        t = 1 if still else _cells("number of frames", times[0], self.frames, "tubelets")
        return Grid(t, _cells("height", height, self.patch, "patches"), _cells("width", width, self.patch, "patches"))

    def subject(self, model: JEPA, shape: Sequence[int], part: Part) -> Subject:
        """A part of a clip; of an image, a block.

        Raises:
            UserError: the part does not fit.
        """
        from modalities.video.imagined import Films
        from worldjepa.imagine.blocks import Blocks

        if len(shape) != 3:
            return Films(model, shape, part)
        if part.future:
            raise UserError(f"future={part.future}: an image has no end that could be imagined")
        return Blocks(model, shape, part.block, part.blocks)

    def _clips(self, obs: Num[Tensor, "B C T H W"] | Num[Tensor, "B C H W"]) -> Float[Tensor, "B C frames H W"]:
        """Normalised; an image is repeated until it fills a tubelet."""
        clips = self._normalised(obs[:, :, None] if obs.ndim == 4 else obs)
        return clips.expand(-1, -1, self.frames, -1, -1) if clips.shape[2] == 1 else clips

    def _normalised(self, obs: Num[Tensor, "B C T H W"]) -> Float[Tensor, "B C T H W"]:
        if obs.is_floating_point():
            return obs
        if obs.dtype != torch.uint8:
            raise UserError(f"clips must be uint8 or floating-point, not {obs.dtype}")
        scaled = (obs.float() / 255 - self.mean.float()) / self.std.float()
        return scaled.to(self.proj.weight.dtype)


def _cells(axis: str, extent: int, step: int, what: str) -> int:
    cells, rest = divmod(extent, step)
    if not cells:
        raise UserError(f"{axis} {extent} is less than {step}: the nearest {axis} that fits is {step}")
    if rest:
        below = extent - rest
        raise UserError(
            f"{axis} {extent} cannot be cut into {what} of {step}: the nearest that fit are {below} and {below + step}"
        )
    return cells


def _statistic(
    name: str, given: Sequence[float] | None, default: Sequence[float] | None, channels: int
) -> Float[Tensor, "C 1 1 1"]:
    values = default if given is None else given
    if values is None:
        raise UserError(f"{name} has no default for {channels} channels: give one number per channel")
    if len(values) != channels:
        raise UserError(f"{name} must have one number per channel: {len(values)} numbers, {channels} channel(s)")
    return torch.tensor([float(value) for value in values], dtype=torch.float32).view(-1, 1, 1, 1)
