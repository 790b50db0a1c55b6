"""The four values that travel between the parts: where tokens stand, what they hold, what is seen, what is asked.

Letters in shapes: B batch, N tokens, D width, C context sets, M target sets, K tokens of a context, Q tokens of a target.
All four are NamedTuples, so that PyTorch's tree utilities, collation, device transfer and compilation walk through them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt
from torch import Tensor


class Grid(NamedTuple):
    """The lattice that an observation is cut into; an axis that a modality does not use has extent 1.

    Images are `(1, h, w)`, videos `(t, h, w)`, sounds `(time, frequency, 1)` and trajectories `(t, 1, 1)`.
    """

    t: int = 1
    h: int = 1
    w: int = 1

    @property
    def size(self) -> int:
        """The number of tokens, N."""
        return self.t * self.h * self.w

    def pos(self, device: torch.device | str | None = None) -> Float[Tensor, "N 3"]:
        """The (t, h, w) coordinates of every token, row-major: w runs fastest."""
        axes = [torch.arange(extent, dtype=torch.float32, device=device) for extent in self]
        return torch.cartesian_prod(*axes)


class Tokens(NamedTuple):
    """Token values with the positions they stand at."""

    x: Float[Tensor, "*b N D"]
    pos: Float[Tensor, "*b N 3"]

    def select(self, idx: Int[Tensor, "B M K"]) -> Tokens:
        """Gather `[B, M, K]` token indices out of tokens `[B, N, D]`; the result has x `[B, M, K, D]`."""
        b, m, k = idx.shape
        flat = idx.reshape(b, m * k, 1)  # [B, M*K, 1]

        def gather(values: Tensor) -> Tensor:
            width = values.shape[-1]
            return values.gather(1, flat.expand(-1, -1, width)).reshape(b, m, k, width)

        return Tokens(gather(self.x), gather(self.pos))


class Masks(NamedTuple):
    """Index sets: what the encoder sees and what the predictor is asked.

    C is 1 when one context serves every target set, or M when each target set has a context of its own.
    """

    context: Int[Tensor, "B C K"]
    target: Int[Tensor, "B M Q"]

    @classmethod
    def from_bool(
        cls,
        context: Bool[Tensor, "B C N"],
        target: Bool[Tensor, "B M N"],
        rng: torch.Generator,
    ) -> Masks:
        """Turn ragged sets into rectangular index tensors by cutting every set to the length of the smallest.

        What is cut is an unbiased random subset: each member of a set is kept with the same probability. Context lengths of
        64 and more are rounded down to a multiple of 8, so that compiled graphs are reused; shorter ones would lose too
        much by it.

        Args:
            context: True where the encoder may look.
            target: True where the predictor is asked.
            rng: the generator that decides which members are kept.

        Raises:
            ValueError: a set is empty.
        """
        return cls(
            random_subset(context, rng, "context", multiple=8),
            random_subset(target, rng, "target", multiple=1),
        )


def random_subset(
    members: Bool[Tensor, "B S N"], rng: torch.Generator, name: str = "mask", multiple: int = 1
) -> Int[Tensor, "B S K"]:
    """Draw from each set a uniform random subset of the smallest set's size, K; indices come in ascending order.

    Sets and generator live on the CPU.

    Args:
        members: True for the members of each set.
        rng: the generator that decides.
        name: what to call the sets in an error.
        multiple: K is rounded down to a multiple of this where K >= 64.

    Raises:
        ValueError: a set is empty.
    """
    n = members.shape[-1]
    sizes = members.numpy().sum(-1)  # [B, S]
    length = int(sizes.min())
    if length == 0:
        row, which = np.argwhere(sizes == 0)[0].tolist()
        raise ValueError(f"{name} set {which} of sample {row} is empty: every one of the {n} tokens was excluded")
    if length >= 64:
        length -= length % multiple
    return ascending(random_order(members, rng)[..., :length])


def random_order(members: Bool[Tensor, "B S N"], rng: torch.Generator) -> UInt[np.ndarray, "B S N"]:
    """All token indices of each set in random order, members before non-members."""
    b, s, n = members.shape
    # One unsigned integer per token: the top bit says non-member, the middle bits are random, the low bits are the token
    # itself, so that one sort of plain integers shuffles and carries the indices along. NumPy's vectorised integer sort
    # takes a fifteenth of the time of PyTorch's. The generator fills 63 bits at a time, of which two narrow keys are cut.
    bits = max(1, (n - 1).bit_length())
    narrow = bits <= 14
    dtype: type[np.unsignedinteger[Any]] = np.uint32 if narrow else np.uint64
    width = 32 if narrow else 64
    words = torch.empty(-(-b * s * n // (2 if narrow else 1)), dtype=torch.int64).random_(generator=rng)
    keys = words.numpy().view(dtype)[: b * s * n].reshape(b, s, n)
    keys &= dtype((1 << (width - 2)) - (1 << bits))
    keys |= np.where(members.numpy(), dtype(0), dtype(1 << (width - 1))) | np.arange(n, dtype=dtype)
    keys.sort(axis=-1)
    keys &= dtype((1 << bits) - 1)
    return keys


def ascending(indices: UInt[np.ndarray, "B S K"]) -> Int[Tensor, "B S K"]:
    """Each set's indices in ascending order, as a tensor."""
    return torch.from_numpy(np.sort(indices, axis=-1).astype(np.int64))


class Batch(NamedTuple):
    """What one training step is made of."""

    obs: Tensor | Tokens
    """Raw observations, or the tokens of the level below in a hierarchy."""
    masks: list[Masks]
    cond: Tokens | None = None
    """Actions, proprioception and whatever else the prediction is conditioned on."""
