"""The pre-norm transformer that encoders and predictors share; parameter names are those of timm and of I-JEPA."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worldjepa.nn.attention import attend
from worldjepa.nn.mlp import MLP
from worldjepa.nn.positions import Rotation
from worldjepa.nn.rotary import turned

NORM_EPS = 1e-6  # I-JEPA, all sizes


class Attention(nn.Module):
    """Multi-head self-attention; optionally only the last tokens ask, while all tokens answer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        queries: int | None = None,
        rotation: Rotation | None = None,
        looks: Bool[Tensor, "N N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Return the attended values of all tokens, or of the last `queries` tokens; `rotation` tells where they stand.

        `looks` says which token may attend to which; by default every one to all.
        """
        b, _, d = x.shape
        q, k, v = self._heads(x, queries, rotation)
        out: Tensor = self.proj(attend(q, k, v, _of_last(looks, queries)).transpose(1, 2).reshape(b, q.shape[2], d))
        return out

    def weights(
        self,
        x: Float[Tensor, "B N D"],
        queries: int | None = None,
        rotation: Rotation | None = None,
        looks: Bool[Tensor, "N N"] | None = None,
    ) -> Float[Tensor, "B H Q N"]:
        """What `forward` weighs the values of all tokens with, in float32: how much each asking token takes from each one."""
        q, k, _ = self._heads(x, queries, rotation)
        scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5
        seen = _of_last(looks, queries)
        weights: Tensor = (scores if seen is None else scores.masked_fill(~seen, -torch.inf)).softmax(-1)
        return weights

    def _heads(self, x: Float[Tensor, "B N D"], queries: int | None, rotation: Rotation | None) -> tuple[Tensor, ...]:
        """Queries `[B, H, Q, hd]`, keys and values `[B, H, N, hd]`; the first two turned."""
        d = x.shape[-1]

        def split(values: Tensor) -> Tensor:  # [B, N, parts*D] -> [parts, B, H, N, hd]
            parts = values.shape[-1] // d
            return values.view(*values.shape[:-1], parts, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)

        if queries is None:
            q, k, v = split(self.qkv(x)).unbind(0)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = split(F.linear(x[:, -queries:], weight[:d], bias[:d])).unbind(0)
            k, v = split(F.linear(x, weight[d:], bias[d:])).unbind(0)
        if rotation is not None:
            q, k = turned(q, rotation.last(q.shape[2])), turned(k, rotation)
        return q, k, v


def _of_last(looks: Tensor | None, queries: int | None) -> Tensor | None:
    """The rows of the last tokens, of who may look at whom."""
    return looks if looks is None or queries is None else looks[-queries:]


class Block(nn.Module):
    """Attention and MLP, each after a layer norm and added to its input."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, norm_eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = MLP(dim, round(dim * mlp_ratio))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        queries: int | None = None,
        rotation: Rotation | None = None,
        looks: Bool[Tensor, "N N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Return all tokens, or only the last `queries` ones (which is all that the last block of a predictor owes)."""
        kept = x if queries is None else x[:, -queries:]
        x = kept + self.attn(self.norm1(x), queries, rotation, looks)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Transformer(nn.ModuleList):
    """A stack of blocks. It is its own list, so that parameters are named `blocks.0.…` where it is called `blocks`."""

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float = 4.0, norm_eps: float = NORM_EPS) -> None:
        super().__init__(Block(dim, heads, mlp_ratio, norm_eps) for _ in range(depth))
        self.checkpointing = False
        """Recompute activations in the backward pass instead of keeping them."""

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        queries: int | None = None,
        rotation: Rotation | None = None,
        looks: Bool[Tensor, "N N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Apply the blocks in order; with `queries`, return only that many last tokens."""
        last = len(self) - 1
        for i, block in enumerate(self):
            asked = queries if i == last else None
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, asked, rotation, looks, use_reentrant=False)
            else:
                x = block(x, asked, rotation, looks)
        return x if last >= 0 or queries is None else x[:, -queries:]

    def each(
        self, x: Float[Tensor, "B N D"], layers: Collection[int], rotation: Rotation | None = None
    ) -> dict[int, Float[Tensor, "B N D"]]:
        """What comes out of the blocks `layers`, counted from 0, by their number; without gradient checkpointing."""
        outputs = {}
        for i, block in enumerate(self):
            x = block(x, None, rotation)
            if i in layers:
                outputs[i] = x
        return outputs
