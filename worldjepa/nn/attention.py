"""Scaled dot-product attention by the fastest of equal formulas for the device, the type and the length at hand.

The choice is a rule, not a measurement at start: a run must repeat bit for bit. `docs/log.md` has the measurements that the
rule is made from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

SHORT = 48
"""Up to this many keys float32 attention is written out on a processor."""
LONG = 1024
"""From this many keys on attention is never written out: the matrix of a long sequence takes too much memory."""


def attend(
    q: Float[Tensor, "B H Q hd"],
    k: Float[Tensor, "B H N hd"],
    v: Float[Tensor, "B H N hd"],
    looks: Bool[Tensor, "Q N"] | None = None,
) -> Float[Tensor, "B H Q hd"]:
    """`softmax(q k^T / sqrt(hd)) v`: PyTorch's fused kernel, or the same written out where that is faster.

    `looks` says which query may attend to which key; by default every one to all.
    """
    if looks is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=looks)
    return written_out(q, k, v) if writes_out(q, k) else F.scaled_dot_product_attention(q, k, v)


def writes_out(q: Tensor, k: Tensor) -> bool:
    """Whether the formula is written out rather than left to the fused kernel.

    On a processor the fused kernel is slower in 16 bits, its backward pass above all, and with few keys in 32. On all other
    devices it is faster, and takes no memory for the matrix.
    """
    if q.device.type != "cpu":
        return False
    # A length would be a second case for the compiler, which then compiles again when a mask crosses the line.
    few = not torch.compiler.is_compiling() and k.shape[-2] <= SHORT
    return few or (q.dtype in (torch.bfloat16, torch.float16) and k.shape[-2] < LONG)


def written_out(
    q: Float[Tensor, "B H Q hd"], k: Float[Tensor, "B H N hd"], v: Float[Tensor, "B H N hd"]
) -> Float[Tensor, "B H Q hd"]:
    """Attention as two products and a softmax; the scale is part of the first product."""
    b, h, asked, size = q.shape
    flat = [x.reshape(b * h, x.shape[2], x.shape[3]) for x in (q, k, v)]  # [B*H, N, hd]
    nothing = flat[0].new_zeros(())  # with beta=0 not looked at
    scores = torch.baddbmm(nothing, flat[0], flat[1].transpose(1, 2), beta=0, alpha=size**-0.5)  # [B*H, Q, N]
    return (scores.softmax(-1) @ flat[2]).view(b, h, asked, v.shape[-1])
