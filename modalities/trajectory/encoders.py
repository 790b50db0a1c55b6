"""Encoders that look at every frame by itself: one vector a frame, or an image encoder's tokens for each."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder
from worldjepa.nn.init import initialise
from worldjepa.targets import layer_normed
from worldjepa.types import Grid, Tokens

SMALLEST = 8
"""Side to which convolutions bring a picture down."""


class OneVector(Encoder):
    """Encodes each frame of `[B, T, ...]` as one vector. Frames that nobody sees are not looked at, and none sees another."""

    frame: tuple[int, ...]
    """Shape of a frame."""

    @abstractmethod
    def vectors(self, frames: Num[Tensor, "R ..."]) -> Float[Tensor, "R {self.dim}"]:
        """The vector of each frame."""

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """One token a frame.

        Raises:
            UserError: the frames have another shape.
        """
        if tuple(obs_shape[1:]) != self.frame:
            raise UserError(
                f"the encoder was built for frames of {self.frame}, not {tuple(obs_shape[1:])}: see arch.channels and arch.size"
            )
        return Grid(obs_shape[0])

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode all frames, x `[B, T, D]`, or the kept ones, x `[B, C, K, D]`."""
        if isinstance(obs, Tokens):
            raise UserError("this encoder takes frames, not tokens")
        pos = self.grid(obs.shape[1:]).pos(obs.device)  # [T, 3]
        if keep is None:
            return Tokens(self.vectors(obs.flatten(0, 1)).view(*obs.shape[:2], self.dim), pos.expand(len(obs), -1, -1))
        rows = torch.arange(len(obs), device=obs.device)[:, None, None].expand_as(keep)
        seen = obs[rows.flatten(), keep.flatten()]  # [B*C*K, ...]
        return Tokens(self.vectors(seen).view(*keep.shape, self.dim), pos[keep])


@final
class ConvFrames(OneVector):
    """Strided convolutions that halve a picture until its side is 8 or less, then two linear layers.

    Args:
        dim: width of the vectors, D.
        channels: channels of the pictures.
        size: side of the pictures.
        width: channels of the first convolution; every further one doubles them.
        hidden: width of the hidden linear layer.

    Raises:
        UserError: a number is not positive, or the side is no multiple of what it is divided by.
    """

    def __init__(self, dim: int = 32, channels: int = 2, size: int = 32, width: int = 16, hidden: int = 64) -> None:
        super().__init__()
        if min(dim, channels, size, width, hidden) < 1:
            raise UserError(
                f"dim, channels, size, width and hidden must be at least 1: dim={dim}, channels={channels}, size={size}, "
                f"width={width}, hidden={hidden}"
            )
        halvings = max(1, math.ceil(math.log2(size / SMALLEST)))
        if size % 2**halvings:
            raise UserError(f"the pictures' side {size} must be a multiple of {2**halvings}")
        self.dim, self.frame = dim, (channels, size, size)
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.GELU()]
            channels, width, size = width, 2 * width, size // 2
        head = [nn.Linear(channels * size**2, hidden), nn.GELU(), nn.Linear(hidden, dim)]
        self.net = nn.Sequential(*layers, nn.Flatten(), *head)
        initialise(self, "xavier")

    def vectors(self, frames: Num[Tensor, "R C H W"]) -> Float[Tensor, "R {self.dim}"]:
        """The vector of each picture; uint8 is scaled to [0, 1]."""
        scaled = frames if frames.is_floating_point() else frames.float() / 255
        vectors: Tensor = self.net(scaled)
        return vectors


@final
class StateFrames(OneVector):
    """A network of linear layers on state vectors.

    Args:
        dim: width of the representations, D.
        state_dim: numbers of a state.
        hidden: width of the two hidden layers.

    Raises:
        UserError: a number is not positive.
    """

    def __init__(self, dim: int = 32, state_dim: int = 2, hidden: int = 128) -> None:
        super().__init__()
        if min(dim, state_dim, hidden) < 1:
            raise UserError(
                f"dim, state_dim and hidden must be at least 1: dim={dim}, state_dim={state_dim}, hidden={hidden}"
            )
        self.dim, self.frame = dim, (state_dim,)
        layers = [nn.Linear(state_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, dim)]
        self.net = nn.Sequential(*layers)
        initialise(self, "xavier")

    def vectors(self, frames: Float[Tensor, "R S"]) -> Float[Tensor, "R {self.dim}"]:
        """The vector of each state."""
        vectors: Tensor = self.net(frames)
        return vectors


@final
class PerFrame(Encoder):
    """An image encoder on each frame of `[B, T, C, H, W]` by itself: n tokens a frame, at the time of their frame.

    An encoder of clips takes a frame for a clip of copies of it.

    Args:
        encoder: the image encoder.
        normalise: layer-norm each token over its features, without affine parameters (V-JEPA 2-AC).
    """

    def __init__(self, encoder: Encoder, normalise: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim = encoder.dim
        self.normalise = normalise

    def loaded(self) -> Encoder:
        """What the image encoder's weights go into."""
        return self.encoder.loaded()

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The image encoder's lattice, frame after frame."""
        each = self.encoder.grid(obs_shape[1:])
        return Grid(obs_shape[0], each.h, each.w)

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode all tokens, x `[B, N, D]`, or the kept ones of each set, x `[B, C, K, D]`; frames do not see one another."""
        if isinstance(obs, Tokens):
            raise UserError("this encoder takes frames, not tokens")
        grid = self.grid(obs.shape[1:])
        pos, each = grid.pos(obs.device), grid.h * grid.w
        if keep is None:
            x = self.encoder(obs.flatten(0, 1)).x  # [B*T, n, D]
            return self._normed(Tokens(x.reshape(len(obs), -1, self.dim), pos.expand(len(obs), -1, -1)))
        rows = torch.arange(len(obs), device=obs.device)[:, None, None].expand_as(keep)
        frames, cells = keep // each, keep % each
        cell = torch.arange(keep.shape[-1], device=keep.device) % each
        if keep.shape[-1] % each == 0 and bool((cells == cell).all()):  # whole frames, one after another
            seen = obs[rows[..., ::each].flatten(), frames[..., ::each].flatten()]  # [B*C*F, C, H, W]
            return self._normed(Tokens(self.encoder(seen).x.reshape(*keep.shape, self.dim), pos[keep]))
        return self._normed(Tokens(self._parts(obs, rows, frames, cells), pos[keep]))

    def layers(self, obs: Tensor | Tokens, wanted: Sequence[int] | None = None, normed: bool = True) -> list[Tokens]:
        """What the image encoder's layers make of all frames."""
        if isinstance(obs, Tokens):
            raise UserError("this encoder takes frames, not tokens")
        pos = self.grid(obs.shape[1:]).pos(obs.device).expand(len(obs), -1, -1)
        layers = self.encoder.layers(obs.flatten(0, 1), wanted, normed)
        frames = [Tokens(one.x.reshape(len(obs), -1, self.dim), pos) for one in layers]
        return [self._normed(one) for one in frames] if normed else frames

    def stages(self) -> list[list[nn.Parameter]]:
        """Those of the image encoder."""
        return self.encoder.stages()

    def _normed(self, tokens: Tokens) -> Tokens:
        return layer_normed(tokens) if self.normalise else tokens

    def _parts(
        self, obs: Tensor, rows: Int[Tensor, "B C K"], frames: Int[Tensor, "B C K"], cells: Int[Tensor, "B C K"]
    ) -> Float[Tensor, "B C K D"]:
        """Parts of frames: those of which equally many tokens are kept are encoded together."""
        sets = torch.arange(rows[0, :, 0].numel(), device=rows.device)[None, :, None].expand_as(rows)
        groups = (rows * rows.shape[1] + sets) * obs.shape[1] + frames
        _, member, count = torch.unique(groups.flatten(), return_inverse=True, return_counts=True)
        order = member.argsort(stable=True)  # tokens, frame by frame
        parts: dict[int, list[Tensor]] = {}
        for one in order.split(count.tolist()):
            parts.setdefault(len(one), []).append(one)
        x: Tensor | None = None
        for alike in parts.values():
            tokens = torch.stack(alike)  # [G, k]
            first = tokens[:, 0]
            seen = obs[rows.flatten()[first], frames.flatten()[first]]
            found = self.encoder(seen, cells.flatten()[tokens][:, None]).x[:, 0]  # [G, k, D]
            x = found.new_zeros(rows.numel(), self.dim) if x is None else x
            x = x.index_put((tokens.flatten(),), found.flatten(0, 1))
        assert x is not None
        return x.view(*rows.shape, self.dim)
