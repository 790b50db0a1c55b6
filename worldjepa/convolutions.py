"""An encoder and a predictor without attention: convolutions over the lattice, on which what is not seen leaves holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, Predictor, Tokenizer
from worldjepa.nn.blocks import NORM_EPS
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import AXES, check_axes
from worldjepa.types import Grid, Tokens

GROUPS = 8
"""Of features that are normalised together, where the width divides into so many."""


@final
class ConvNet(Encoder):
    """Residual convolutions over the lattice of a fine tokenizer, which is made coarser on the way.

    What is not seen is a hole in the lattice that no layer fills: nothing of it gets into what is seen, and context sets know
    nothing of one another. Holes save no work.

    Args:
        tokenizer: cuts observations into tokens of width `dim`.
        dim: width on the tokenizer's lattice. On each further one it is twice as much, up to D.
        depth: residual blocks on each lattice; from one to the next, it is halved along the `axes`.
        axes: the axes of the lattice that convolutions go along.

    Weights begin as PyTorch draws them.

    Raises:
        UserError: a number is out of its range.

    Source: residual blocks that begin with a norm (arXiv 1603.05027); holes as in SparK (arXiv 2301.03580).
    """

    def __init__(self, tokenizer: Tokenizer, dim: int, depth: Sequence[int] = (1, 2), axes: str = "wh") -> None:
        super().__init__()
        if dim < 1 or not depth or min(depth) < 0 or depth[-1] < 1:
            raise UserError(
                f"arch.dim and the last of arch.encoder.depth must be at least 1, the others at least 0: dim={dim}, "
                f"depth={list(depth)}"
            )
        if tokenizer.dim != dim:
            raise UserError(f"the tokenizer makes tokens of width {tokenizer.dim}, the encoder expects {dim}")
        check_axes(axes)
        self.axes = axes
        self.tokenizer = tokenizer
        self.halvings = len(depth) - 1
        self.dim = dim * 2**self.halvings
        self.blocks = nn.ModuleList(
            ResidualBlock(dim * 2**lattice, axes, halve=bool(lattice) and not block)
            for lattice, count in enumerate(depth)
            for block in range(max(count, bool(lattice)))
        )
        self.norm = nn.LayerNorm(self.dim)

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The last lattice.

        Raises:
            UserError: the tokenizer's cannot be halved so often.
        """
        fine, times = self.tokenizer.grid(obs_shape), 2**self.halvings
        if any(extent % times for axis, extent in zip(AXES, fine, strict=True) if axis in self.axes):
            raise UserError(f"a lattice of {tuple(fine)} cannot be halved {self.halvings} times along {self.axes}")
        return Grid(*(n // times if axis in self.axes else n for axis, n in zip(AXES, fine, strict=True)))

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode everything, x `[B, N, D]`, or the kept tokens of each context set, x `[B, C, K, D]`."""
        if isinstance(obs, Tokens):
            raise UserError("this encoder takes observations, not tokens")
        grid, fine = self.grid(obs.shape[1:]), self.tokenizer.grid(obs.shape[1:])
        pos = grid.pos(obs.device)  # [N, 3]
        x = self.tokenizer(obs).x
        x = x.reshape(len(x), *fine, -1)  # [B, t, h, w, D]
        if keep is None or keep.shape[-1] == grid.size:
            whole = Tokens(self._encoded(x, None).flatten(1, 3), pos.expand(len(obs), -1, -1))
            return whole if keep is None else whole.select(keep)
        b, c, k = keep.shape
        seen = torch.zeros(b * c, grid.size, 1, dtype=x.dtype, device=x.device)
        seen.scatter_(1, keep.flatten(0, 1)[..., None], 1.0)
        sets = self._encoded(x.repeat_interleave(c, 0), seen.reshape(b * c, *grid, 1)).flatten(1, 3)  # [B*C, N, D]
        kept = sets.gather(1, keep.flatten(0, 1)[..., None].expand(-1, -1, self.dim))
        return Tokens(kept.view(b, c, k, self.dim), pos[keep])

    def stages(self) -> list[list[nn.Parameter]]:
        """The tokenizer, each block, the final norm."""
        return [list(part.parameters()) for part in (self.tokenizer, *self.blocks, self.norm)]

    def _encoded(
        self, x: Float[Tensor, "R t h w E"], seen: Float[Tensor, "R tt hh ww 1"] | None
    ) -> Float[Tensor, "R tt hh ww {self.dim}"]:
        """What the last lattice holds; `seen` is 1 where it may be looked at and 0 elsewhere."""
        for block in self.blocks:
            x = block(x, seen)
        out: Tensor = self.norm(x)
        return out


@final
class ResidualBlock(nn.Module):
    """Norm, rectify, convolve, twice; added to the input. It may halve the lattice, and doubles the width then."""

    def __init__(self, dim: int, axes: str, halve: bool) -> None:
        super().__init__()
        kt, kh, kw = (3 if axis in axes else 1 for axis in AXES)
        st, sh, sw = (2 if halve and axis in axes else 1 for axis in AXES)
        kernel, stride, padding = (kt, kh, kw), (st, sh, sw), (kt // 2, kh // 2, kw // 2)
        before = dim // 2 if halve else dim
        self.norm1, self.norm2 = SetNorm(before), SetNorm(dim)
        self.conv1 = nn.Conv3d(before, dim, kernel, stride, padding)
        self.conv2 = nn.Conv3d(dim, dim, kernel, 1, padding)
        self.past = nn.Conv3d(before, dim, stride, stride) if halve else nn.Identity()

    def forward(
        self, x: Float[Tensor, "R t h w D"], seen: Float[Tensor, "R tt hh ww 1"] | None
    ) -> Float[Tensor, "R rt rh rw E"]:
        """The features of each place."""
        h = along(self.conv1, holed(F.gelu(self.norm1(x, seen)), seen))
        h = along(self.conv2, holed(F.gelu(self.norm2(h, seen)), seen))
        return along(self.past, x) + h


@final
class SetNorm(nn.Module):
    """Mean 0 and deviation 1 over a group of features at all places that are seen, then a scale and a shift of each feature.

    A norm of each place by itself would make a flat ground as loud as an edge.

    Source: group normalisation (arXiv 1803.08494).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.groups = math.gcd(dim, GROUPS)
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(
        self, x: Float[Tensor, "R t h w D"], seen: Float[Tensor, "R tt hh ww 1"] | None
    ) -> Float[Tensor, "R t h w D"]:
        """The features, normalised."""
        if seen is None:
            return F.group_norm(x.movedim(-1, 1), self.groups, self.weight, self.bias, NORM_EPS).movedim(1, -1)
        counted = holed(torch.ones_like(x[..., :1]), seen)[..., None]  # [R, t, h, w, 1, 1]
        grouped = x.reshape(*x.shape[:-1], self.groups, -1)  # [R, t, h, w, G, D / G]
        share = counted / (counted.sum((1, 2, 3), keepdim=True) * grouped.shape[-1])
        mean = (grouped * share).sum((1, 2, 3, 5), keepdim=True)
        variance = ((grouped - mean).square() * share).sum((1, 2, 3, 5), keepdim=True)
        normed = ((grouped - mean) * (variance + NORM_EPS).rsqrt()).flatten(-2)
        out: Tensor = normed * self.weight + self.bias
        return out


def along(layer: nn.Module, x: Float[Tensor, "R t h w D"]) -> Float[Tensor, "R rt rh rw E"]:
    """A convolution of features that come last, as norms like them."""
    out: Tensor = layer(x.movedim(-1, 1))
    return out.movedim(1, -1)


def holed(x: Float[Tensor, "R t h w D"], seen: Float[Tensor, "R tt hh ww 1"] | None) -> Float[Tensor, "R t h w D"]:
    """Zeros where nothing is seen; `seen` may be told on a coarser lattice."""
    if seen is None:
        return x
    for axis in range(1, 4):
        times = x.shape[axis] // seen.shape[axis]
        seen = seen.repeat_interleave(times, axis) if times > 1 else seen
    return x * seen


@final
class ConvDecoder(Predictor):
    """Puts what is seen on its places, a learned vector on those that are asked, and convolves.

    Each layer is a grouped convolution, a norm over the features of each place and a GELU, added to its input. Places that
    are neither seen nor asked are as empty as those beyond the edges. Every target set is answered on a lattice of its own.

    Args:
        input_dim: width of the context and of the answers, D.
        dim: width of the layers.
        depth: number of layers.
        kernel: extent of the convolutions on each of the `axes`, odd.
        groups: groups of features that do not mix in a layer; must divide `dim`.
        axes: the axes of the lattice that convolutions go along.
        init: see `worldjepa.nn.init.initialise`.

    Raises:
        UserError: a number is out of its range.

    Source: the decoder of data2vec 2.0 (arXiv 2212.07525), section 3.1.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 384,
        depth: int = 6,
        kernel: int = 3,
        groups: int = 16,
        axes: str = "wh",
        init: Scheme = "normal",
    ) -> None:
        super().__init__()
        if min(dim, depth, groups) < 1 or kernel < 1 or kernel % 2 == 0:
            raise UserError(
                f"predictor.dim, depth and groups must be at least 1, kernel odd: dim={dim}, depth={depth}, groups={groups}, "
                f"kernel={kernel}"
            )
        if dim % groups:
            raise UserError(f"predictor.groups={groups} does not divide predictor.dim={dim}")
        check_axes(axes)
        t, h, w = (kernel if axis in axes else 1 for axis in AXES)
        self.predictor_embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.convolutions = nn.ModuleList(
            nn.Conv3d(dim, dim, (t, h, w), padding="same", groups=groups) for _ in range(depth)
        )
        self.predictor_proj = nn.Linear(dim, input_dim)
        initialise(self, init)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Predict x `[B, M, Q, D]` at `query`, places of the lattice, from context x `[B, C, K, D]`; C is 1 or M."""
        if cond is not None:
            raise ValueError("ConvDecoder takes no condition; choose a predictor that does")
        b, m, q, _ = query.shape
        seen = self.predictor_embed(context.x).expand(b, m, -1, -1).flatten(0, 1)  # [B*M, K, P]
        asked = self.mask_token.to(seen.dtype).expand(b * m, q, -1)  # [B*M, Q, P]
        pos = torch.cat([query, context.pos.expand(b, m, -1, -1)], 2).flatten(0, 1).round().long()  # [B*M, Q+K, 3]
        t, h, w = (pos.amax((0, 1)) + 1).tolist()
        at = ((pos[..., 0] * h + pos[..., 1]) * w + pos[..., 2])[..., None]  # [B*M, Q+K, 1]
        x = scattered(torch.cat([asked, seen], 1), at, t * h * w)
        there = scattered(torch.ones_like(at, dtype=x.dtype), at, t * h * w)
        x, there = (part.transpose(1, 2).reshape(b * m, -1, t, h, w) for part in (x, there))  # [B*M, P, t, h, w]
        for convolution in self.convolutions:
            x = x + layer(convolution, x) * there
        answers = x.flatten(2).transpose(1, 2).gather(1, at[:, :q].expand(-1, -1, x.shape[1]))  # [B*M, Q, P]
        out: Tensor = self.predictor_proj(answers)
        return Tokens(out.reshape(b, m, q, out.shape[-1]), query)


def scattered(values: Float[Tensor, "B S P"], at: Int[Tensor, "B S 1"], places: int) -> Float[Tensor, "B {places} P"]:
    """The values on their places, zeros elsewhere."""
    empty = values.new_zeros(len(values), places, values.shape[-1])
    return empty.scatter(1, at.expand(-1, -1, values.shape[-1]), values)


def layer(convolution: nn.Module, x: Float[Tensor, "B P t h w"]) -> Float[Tensor, "B P t h w"]:
    """Convolve, norm the features of each place, rectify."""
    y = convolution(x).movedim(1, -1)  # [B, t, h, w, P]
    return F.gelu(F.layer_norm(y, y.shape[-1:])).movedim(-1, 1)
