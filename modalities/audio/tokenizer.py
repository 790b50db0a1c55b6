"""Sounds into tokens: one token a patch of the log-mel spectrogram."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modalities.audio.frontend import front_end as named
from worldjepa.errors import UserError
from worldjepa.imagine.subject import Imaginable, Part, Subject
from worldjepa.interfaces import Tokenizer
from worldjepa.jepa import JEPA
from worldjepa.types import Grid, Tokens


class Patches(Tokenizer, Imaginable):
    """Linear projection of patches of a normalised log-mel spectrogram that do not overlap (AST, arXiv 2104.01778).

    Takes spectrograms `[B, 1, T, F]` as the data sets here make them, or waveforms `[B, S]` at the front end's rate, so that a
    trained encoder needs nothing else. Mean and deviation are those of the training data: `fit` takes them from a sample, and
    they are part of the model's state.

    Args:
        patch: frames and bands of a patch; one number for both.
        dim: width of the tokens.
        front_end: name of the front end that makes, or has made, the spectrograms.

    Raises:
        UserError: a number is not positive, the patch does not divide the front end's bands, or there is no such front end.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, patch: int | Sequence[int], dim: int, front_end: str = "mel_16k"):
        super().__init__()
        sides = [patch, patch] if isinstance(patch, int) else list(patch)
        if len(sides) != 2 or min(*sides, dim) < 1:
            raise UserError(f"patch must be one or two numbers, and dim one, of at least 1: patch={patch}, dim={dim}")
        self.dim, self.front_end = dim, named(front_end)
        self.patch = (sides[0], sides[1])
        if self.front_end.bins % self.patch[1]:
            raise UserError(
                f"the {self.front_end.bins} mel bands of front_end={front_end} cannot be cut into patches of {self.patch[1]}"
            )
        self.proj = nn.Conv2d(1, dim, kernel_size=self.patch, stride=self.patch)
        self.register_buffer("mean", torch.zeros(self.front_end.bins))
        self.register_buffer("std", torch.ones(self.front_end.bins))

    @torch.no_grad()
    def fit(self, obs: Float[Tensor, "B ..."]) -> None:
        """Take mean and standard deviation, of all values or of each band as the front end says, from training data."""
        values = self._spectrograms(obs).double().flatten(0, -2)  # [B*T, F]
        std, mean = torch.std_mean(values, 0 if self.front_end.by_band else None)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))  # silence has no deviation

    def forward(self, obs: Float[Tensor, "B ..."]) -> Tokens:
        """Return tokens x `[B, N, D]`, frequency running fastest, with their positions `[B, N, 3]`.

        Raises:
            UserError: the shape cannot be cut into patches.
        """
        grid = self.grid(obs.shape[1:])
        normal = self._normalised(obs, grid)
        x = self.proj(normal.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)  # [B, N, D]
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    @property
    def piece_dim(self) -> int:
        """The cells of a patch: frames times bands."""
        return self.patch[0] * self.patch[1]

    def pieces(self, obs: Float[Tensor, "B ..."]) -> Tokens:
        """The normalised log-mel energies of each patch, frame by frame."""
        grid, (high, wide) = self.grid(obs.shape[1:]), self.patch
        cells = self._normalised(obs, grid)[:, 0].unflatten(1, (grid.t, high)).unflatten(3, (grid.h, wide))
        x = cells.transpose(2, 3).reshape(len(obs), grid.size, self.piece_dim)
        return Tokens(x, grid.pos(obs.device).expand(len(obs), -1, -1))

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice `(T / patch, F / patch, 1)` for spectrograms `(1, T, F)` or waveforms `(S,)`.

        Of a waveform, frames at the end that fill no patch are left out.

        Raises:
            UserError: the number of axes or bands is wrong, or the frames are not a multiple of the patch.
        """
        high, wide = self.patch
        if len(obs_shape) == 1:
            frames = self.front_end.frames(obs_shape[0]) // high * high
        elif len(obs_shape) == 3 and obs_shape[0] == 1 and obs_shape[2] == self.front_end.bins:
            frames = obs_shape[1]
        else:
            raise UserError(
                f"a sound has the shape (1, frames, {self.front_end.bins}) as a spectrogram or (samples,) as a waveform, not "
                f"{tuple(obs_shape)}"
            )
        cells, rest = divmod(frames, high)
        if not cells:
            raise UserError(f"{tuple(obs_shape)} holds less than one patch of {high} frames")
        if rest:
            raise UserError(
                f"{frames} frames cannot be cut into patches of {high}: the nearest numbers that fit are "
                f"{frames - rest} and {frames - rest + high}"
            )
        return Grid(cells, self.front_end.bins // wide, 1)

    def subject(self, model: JEPA, shape: Sequence[int], part: Part) -> Subject:
        """A part of a spectrogram.

        Raises:
            UserError: the part does not fit.
        """
        from modalities.audio.imagined import Spectrograms

        return Spectrograms(model, self, shape, part)

    def _normalised(self, obs: Float[Tensor, "B ..."], grid: Grid) -> Float[Tensor, "B 1 T F"]:
        spectrograms = self._spectrograms(obs)[:, :, : grid.t * self.patch[0]]
        return (spectrograms.float() - self.mean.float()) / self.std.float()

    def _spectrograms(self, obs: Float[Tensor, "B ..."]) -> Float[Tensor, "B 1 T F"]:
        return self.front_end(obs)[:, None] if obs.ndim == 2 else obs
