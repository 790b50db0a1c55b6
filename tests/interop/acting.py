"""V-JEPA 2-AC's predictor restated from its published rules, literally, and toy files of it.

What the rules leave open is decided here as `worldjepa.interop.vjepa2_ac` says: layer norms inside the predictor have
epsilon 1e-6, and frames that are not square are stretched along rows and columns each by itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interop import reference
from interop.clips import hf, official_names, wrapped
from interop.toys import blocks, linear, norm, randn

DEPTH, HEADS, ACTION, STATE, EXTRINSICS, GRID = 2, 16, 7, 7, 6, 16


def predictor(width: int, into: int, seed: int = 0, extrinsics: bool = True) -> dict[str, Tensor]:
    """A predictor under its official names."""
    tensors: dict[str, Tensor] = {}
    linear(tensors, "predictor_embed", width, into, seed)
    linear(tensors, "action_encoder", width, ACTION, seed + 2)
    linear(tensors, "state_encoder", width, STATE, seed + 4)
    if extrinsics:
        linear(tensors, "extrinsics_encoder", width, EXTRINSICS, seed + 6)
    blocks(tensors, "predictor_blocks", DEPTH, width, 4 * width, seed + 2000)
    norm(tensors, "predictor_norm", width, seed + 8)
    linear(tensors, "predictor_proj", into, width, seed + 10)
    return {name: value * (0.3 if name.endswith("weight") and value.ndim > 1 else 1) for name, value in tensors.items()}


def save_ac(file: Path, width: int, seed: int = 1, **changed: object) -> Path:
    """A file with V-JEPA 2's encoder and the predictor."""
    model = hf(seed=seed)
    parts: dict[str, Any] = {"encoder": wrapped(official_names(model)["encoder"])}
    tensors = predictor(width, model.config.hidden_size)
    parts["predictor"] = {f"module.{name}": value for name, value in tensors.items()}
    torch.save({**parts, "epoch": 315, "opt": {"state": {}}, **changed}, file)
    return file


def plain_norm(x: Tensor) -> Tensor:
    """A layer norm without affine parameters, with PyTorch's epsilon."""
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5)


def turned(features: list[float], place: float) -> list[float]:
    """One axis of a head: neighbours (a, b) become (-b, a), but the frequencies are tiled, not repeated."""
    count = len(features)
    frequency = [10000 ** (-i / (count // 2)) for i in range(count // 2)] * 2
    out = []
    for i, value in enumerate(features):
        other = -features[i + 1] if i % 2 == 0 else features[i - 1]
        out.append(value * math.cos(place * frequency[i]) + other * math.sin(place * frequency[i]))
    return out


def placed(x: Tensor, places: list[tuple[float, ...]]) -> Tensor:
    """Queries or keys `[B, H, N, hd]`, turned along as many axes as each token has numbers: time, then row and column."""
    size = x.shape[-1]
    axis = 2 * ((size // 3) // 2)
    out = x.clone()
    for n, place in enumerate(places):
        for number, along in enumerate(place):
            part = slice(number * axis, (number + 1) * axis)
            # On the unit vectors, for the turning is linear.
            table = torch.tensor([turned(row, along) for row in torch.eye(axis, dtype=torch.float64).tolist()])
            out[:, :, n, part] = torch.einsum("bhi,ij->bhj", x[:, :, n, part], table.to(x.dtype))
    return out


def block(x: Tensor, weights: dict[str, Tensor], name: str, places: list[tuple[float, ...]], looks: Tensor) -> Tensor:
    b, n, d = x.shape
    qkv = reference.linear(reference.layer_norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv")
    q, k, v = qkv.reshape(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
    q, k = placed(q, places), placed(k, places)
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(d // HEADS)
    mixed = torch.einsum("bhij,bhjd->bihd", torch.softmax(scores.masked_fill(~looks, -math.inf), -1), v)
    x = x + reference.linear(mixed.reshape(b, n, d), weights, f"{name}.attn.proj")
    hidden = reference.linear(reference.layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + reference.linear(hidden, weights, f"{name}.mlp.fc2")


def predict(
    weights: dict[str, Tensor], z: Tensor, actions: Tensor, states: Tensor, rows: int, columns: int, grid: int = GRID
) -> Tensor:
    """From frames `[B, T, rows*columns, D]`, actions and states `[B, T, 7]` to what follows each frame, layer-normed."""
    b, t, n, _ = z.shape
    sequence, places, frame = [], [], []
    for time in range(t):
        sequence.append(reference.linear(actions[:, time : time + 1], weights, "action_encoder"))
        sequence.append(reference.linear(states[:, time : time + 1], weights, "state_encoder"))
        sequence.append(reference.linear(z[:, time], weights, "predictor_embed"))
        places += [(float(time),), (float(time),)]
        places += [
            (float(time), row * grid / rows, column * grid / columns)
            for row in range(rows)
            for column in range(columns)
        ]
        frame += [time] * (2 + n)
    looks = torch.tensor([[other <= own for other in frame] for own in frame])
    x = torch.cat(sequence, 1)
    for i in range(DEPTH):
        x = block(x, weights, f"predictor_blocks.{i}", places, looks)
    patches = x.view(b, t, 2 + n, -1)[:, :, 2:]
    found = reference.linear(reference.layer_norm(patches, weights, "predictor_norm"), weights, "predictor_proj")
    return plain_norm(found)


def rollout(
    weights: dict[str, Tensor], first: Tensor, actions: Tensor, states: Tensor, rows: int, columns: int, steps: int
) -> Tensor:
    """What follows the first frame `[B, n, D]`, each step from all frames before it: `[B, steps, n, D]`."""
    frames = [first]
    for step in range(steps):
        z = torch.stack(frames, 1)
        frames.append(predict(weights, z, actions[:, : step + 1], states[:, : step + 1], rows, columns)[:, -1])
    return torch.stack(frames[1:], 1)


def doing(batch: int, times: int, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Actions and states `[B, times, 7]`."""
    return randn(batch, times, ACTION, seed=seed) * 0.5, randn(batch, times, STATE, seed=seed + 1) * 0.5
