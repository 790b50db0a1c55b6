"""I-JEPA restated from its published rules, literally: lists of masks, copies stacked along the batch, target slowest."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def layer_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def block(x: Tensor, weights: dict[str, Tensor], name: str, heads: int) -> Tensor:
    b, n, d = x.shape
    qkv = linear(layer_norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv").reshape(
        b, n, 3, heads, d // heads
    )
    q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
    attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(d // heads), -1)
    x = x + linear((attention @ v).transpose(1, 2).reshape(b, n, d), weights, f"{name}.attn.proj")
    hidden = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + linear(hidden, weights, f"{name}.mlp.fc2")


def take(x: Tensor, masks: list[Tensor]) -> Tensor:
    """Gather every mask's tokens and stack the results along the batch, mask by mask."""
    return torch.cat([torch.stack([x[b, mask[b]] for b in range(len(x))]) for mask in masks])


def encode(weights: dict[str, Tensor], heads: int, images: Tensor, masks: list[Tensor] | None = None) -> Tensor:
    filters = weights["patch_embed.proj.weight"]
    d, _, p, _ = filters.shape
    b, _, height, width = images.shape
    tokens = [
        torch.einsum("bcij,dcij->bd", images[:, :, r : r + p, c : c + p], filters) + weights["patch_embed.proj.bias"]
        for r in range(0, height, p)
        for c in range(0, width, p)
    ]
    x = torch.stack(tokens, 1) + weights["pos_embed"]
    if masks is not None:
        x = take(x, masks)
    for i in range(len({name.split(".")[1] for name in weights if name.startswith("blocks.")})):
        x = block(x, weights, f"blocks.{i}", heads)
    return layer_norm(x, weights, "norm")


def predict(
    weights: dict[str, Tensor], heads: int, z: Tensor, context: list[Tensor], target: list[Tensor], batch: int
) -> Tensor:
    """From context representations `[nenc*B, K, D]` to predictions `[npred*nenc*B, Q, D]`."""
    pos = weights["predictor_pos_embed"].repeat(batch, 1, 1)
    x = linear(z, weights, "predictor_embed") + take(pos, context)
    asked = take(pos, target)
    chunks = [asked[i : i + batch] for i in range(0, len(asked), batch)]
    asked = torch.cat([torch.cat([chunk] * len(context)) for chunk in chunks])
    asked = asked + weights["mask_token"]
    count = asked.shape[1]
    x = torch.cat([torch.cat([x] * len(target)), asked], dim=1)
    for i in range(len({name.split(".")[1] for name in weights if name.startswith("predictor_blocks.")})):
        x = block(x, weights, f"predictor_blocks.{i}", heads)
    return linear(layer_norm(x, weights, "predictor_norm")[:, -count:], weights, "predictor_proj")
