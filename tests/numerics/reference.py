"""I-JEPA once more, written for reading: loops, one head at a time, batches folded as the published code folds them.

Nothing here shares code with the package. Weights come as a flat dictionary under the published names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def position_code(row: float, column: float, width: int) -> list[float]:
    """The code of one patch: its first half is the column's, its second half the row's, each all sines, then all cosines."""

    def axis(place: float) -> list[float]:
        count = width // 4
        angles = [place / 10000 ** (i / count) for i in range(count)]
        return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]

    return axis(column) + axis(row)


def position_table(rows: int, columns: int, width: int) -> Tensor:
    """The codes of all patches, row by row: [1, N, width]."""
    table = [position_code(row, column, width) for row in range(rows) for column in range(columns)]
    return torch.tensor([table], dtype=torch.float64)


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normalise(x: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def layer_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    return normalise(x, 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    width = x.shape[-1]
    size = width // heads
    qkv = linear(x, w, f"{name}.qkv")
    q, k, v = qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]
    out = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(-2, -1) / math.sqrt(size)
        scores = (scores - scores.max(-1, keepdim=True).values).exp()
        out.append(scores / scores.sum(-1, keepdim=True) @ v[..., part])
    return linear(torch.cat(out, -1), w, f"{name}.proj")


def block(x: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    x = x + attention(layer_norm(x, w, f"{name}.norm1"), w, f"{name}.attn", heads)
    hidden = gelu(linear(layer_norm(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1"))
    return x + linear(hidden, w, f"{name}.mlp.fc2")


def pick(x: Tensor, masks: list[Tensor]) -> Tensor:
    """Gather `[B, K]` indices of every mask and put the results below one another: [masks * B, K, D], mask by mask."""
    return torch.cat([torch.stack([x[b][mask[b]] for b in range(len(x))]) for mask in masks])


def patches(images: Tensor, size: int) -> Tensor:
    """[B, C, H, W] to [B, N, C * size * size], one patch after another."""
    _, _, height, width = images.shape
    cut = [
        images[:, :, top : top + size, left : left + size].flatten(1)
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
    return torch.stack(cut, 1)


def encode(images: Tensor, w: Weights, heads: int, depth: int, masks: list[Tensor] | None = None) -> Tensor:
    """The encoder on floating-point images: [B, N, D], or [masks * B, K, D] with masks."""
    kernel = w["tokenizer.proj.weight"]
    size = kernel.shape[-1]
    x = patches(images, size) @ kernel.flatten(1).T + w["tokenizer.proj.bias"]
    x = x + position_table(images.shape[2] // size, images.shape[3] // size, kernel.shape[0]).to(x.dtype)
    if masks is not None:
        x = pick(x, masks)
    for number in range(depth):
        x = block(x, w, f"blocks.{number}", heads)
    return layer_norm(x, w, "norm")


def predict(
    z: Tensor, w: Weights, grid: tuple[int, int], heads: int, depth: int, seen: list[Tensor], asked: list[Tensor]
) -> Tensor:
    """The predictor: from z [seen * B, K, D] to [asked * seen * B, Q, D]; target mask slowest, then context, then sample."""
    batch = len(seen[0])
    table = position_table(*grid, w["mask_token"].shape[-1]).to(z.dtype).repeat(batch, 1, 1)
    x = linear(z, w, "predictor_embed")
    x = x + pick(table, seen)
    queries = []
    for mask in asked:
        chunk = pick(table, [mask])  # [B, Q, P]
        queries += [chunk] * len(seen)
    tokens = w["mask_token"] + torch.cat(queries)  # [asked * seen * B, Q, P]
    x = torch.cat([torch.cat([x] * len(asked)), tokens], 1)
    for number in range(depth):
        x = block(x, w, f"predictor_blocks.{number}", heads)
    x = layer_norm(x, w, "predictor_norm")[:, -asked[0].shape[1] :]
    return linear(x, w, "predictor_proj")


def smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared difference where it is below 1, else the difference less a half; mean over all."""
    apart = (a - b).abs()
    return torch.where(apart < 1, 0.5 * apart**2, apart - 0.5).mean()
