"""Toy weights in every layout. The official ones are made here from the published rules, not by our own code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

WIDTH, DEPTH, HEADS, HIDDEN, PATCH, SIDE = 32, 2, 4, 96, 4, 6
NARROW, SHALLOW = 24, 2
PIXELS = PATCH * SIDE
LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def code(width: int, side: int = SIDE) -> Tensor:
    """The published position code: the first half is the column's, the second the row's; sines, then cosines."""
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows = []
    for row in range(side):
        for column in range(side):
            x, y = column * omega, row * omega
            rows.append(torch.cat([x.sin(), x.cos(), y.sin(), y.cos()]))
    return torch.stack(rows).float()[None]  # [1, N, D]


def linear(tensors: dict[str, Tensor], name: str, out: int, into: int, seed: int) -> None:
    tensors[f"{name}.weight"] = randn(out, into, seed=seed) * 0.3
    tensors[f"{name}.bias"] = randn(out, seed=seed + 1) * 0.3


def norm(tensors: dict[str, Tensor], name: str, width: int, seed: int) -> None:
    tensors[f"{name}.weight"] = 1 + 0.2 * randn(width, seed=seed)
    tensors[f"{name}.bias"] = 0.2 * randn(width, seed=seed + 1)


def blocks(tensors: dict[str, Tensor], stack: str, depth: int, width: int, hidden: int, seed: int) -> None:
    for i in range(depth):
        start = seed + 100 * i
        norm(tensors, f"{stack}.{i}.norm1", width, start)
        linear(tensors, f"{stack}.{i}.attn.qkv", 3 * width, width, start + 10)
        linear(tensors, f"{stack}.{i}.attn.proj", width, width, start + 20)
        norm(tensors, f"{stack}.{i}.norm2", width, start + 30)
        linear(tensors, f"{stack}.{i}.mlp.fc1", hidden, width, start + 40)
        linear(tensors, f"{stack}.{i}.mlp.fc2", width, hidden, start + 50)


def encoder(seed: int = 0) -> dict[str, Tensor]:
    """An encoder under its official names."""
    tensors = {"pos_embed": code(WIDTH)}
    tensors["patch_embed.proj.weight"] = randn(WIDTH, 3, PATCH, PATCH, seed=seed + 1) * 0.2
    tensors["patch_embed.proj.bias"] = randn(WIDTH, seed=seed + 2) * 0.2
    blocks(tensors, "blocks", DEPTH, WIDTH, HIDDEN, seed + 1000)
    norm(tensors, "norm", WIDTH, seed + 3)
    return tensors


def predictor(seed: int = 0) -> dict[str, Tensor]:
    """A predictor under its official names."""
    tensors = {"mask_token": randn(1, 1, NARROW, seed=seed + 5), "predictor_pos_embed": code(NARROW)}
    linear(tensors, "predictor_embed", NARROW, WIDTH, seed + 6)
    blocks(tensors, "predictor_blocks", SHALLOW, NARROW, 4 * NARROW, seed + 2000)
    norm(tensors, "predictor_norm", NARROW, seed + 8)
    linear(tensors, "predictor_proj", WIDTH, NARROW, seed + 10)
    return tensors


def wrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As a data-parallel wrapper names them."""
    return {f"module.{name}": value for name, value in tensors.items()}


def official(**changed: object) -> dict[str, object]:
    """What an official file holds."""
    return {
        "encoder": wrapped(encoder(seed=7)),
        "predictor": wrapped(predictor()),
        "target_encoder": wrapped(encoder()),
        "opt": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": {"scale": 65536.0},
        "epoch": 300,
        "loss": 0.1,
        "batch_size": 128,
        "world_size": 16,
        "lr": 0.001,
        **changed,
    }


def save_official(file: Path, **changed: object) -> Path:
    torch.save(official(**changed), file)
    return file


def images(count: int = 2, side: int = PIXELS, seed: int = 3) -> Tensor:
    return randn(count, 3, side, side, seed=seed)
