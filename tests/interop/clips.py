"""V-JEPA restated from its published rules, literally, and toy weights of it; V-JEPA 2 by transformers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interop import reference
from interop.toys import blocks, linear, norm, randn

WIDTH, DEPTH, HEADS, HIDDEN, NARROW = 40, 2, 4, 100, 20
"""Neither width divides among three sines and cosines."""
PATCH, TUBELET, TIMES, SIDE = 4, 2, 3, 4
FRAMES, PIXELS, TOKENS = TUBELET * TIMES, PATCH * SIDE, TIMES * SIDE * SIDE


def code(width: int, times: int = TIMES, side: int = SIDE) -> Tensor:
    """The published position code: time, row, column; each has 2 ceil(width / 6) numbers, sines then cosines; cut to width."""
    count = math.ceil(width / 6)
    omega = [10000 ** (-i / count) for i in range(count)]
    rows = []
    for t in range(times):
        for row in range(side):
            for column in range(side):
                values = []
                for place in (t, row, column):
                    values += [math.sin(place * w) for w in omega] + [math.cos(place * w) for w in omega]
                rows.append(values[:width])
    return torch.tensor(rows)[None]  # [1, N, D]


def encoder(seed: int = 0) -> dict[str, Tensor]:
    """An encoder of V-JEPA under its official names."""
    tensors = {"pos_embed": code(WIDTH)}
    tensors["patch_embed.proj.weight"] = randn(WIDTH, 3, TUBELET, PATCH, PATCH, seed=seed + 1) * 0.2
    tensors["patch_embed.proj.bias"] = randn(WIDTH, seed=seed + 2) * 0.2
    blocks(tensors, "blocks", DEPTH, WIDTH, HIDDEN, seed + 1000)
    norm(tensors, "norm", WIDTH, seed + 3)
    return tensors


def predictor(seed: int = 0, mask_tokens: int = 2) -> dict[str, Tensor]:
    """A predictor of V-JEPA under its official names."""
    tensors = {f"mask_tokens.{i}": randn(1, 1, NARROW, seed=seed + 50 + i) for i in range(mask_tokens)}
    tensors["predictor_pos_embed"] = code(NARROW)
    linear(tensors, "predictor_embed", NARROW, WIDTH, seed + 6)
    blocks(tensors, "predictor_blocks", DEPTH, NARROW, 4 * NARROW, seed + 2000)
    norm(tensors, "predictor_norm", NARROW, seed + 8)
    linear(tensors, "predictor_proj", WIDTH, NARROW, seed + 10)
    return tensors


def wrapped(tensors: dict[str, Any]) -> dict[str, Any]:
    """As a data-parallel wrapper around one for several masks names them."""
    return {f"module.backbone.{name}": value for name, value in tensors.items()}


def save_official(file: Path, **changed: object) -> Path:
    """A file of V-JEPA."""
    parts = {"encoder": wrapped(encoder(7)), "predictor": wrapped(predictor()), "target_encoder": wrapped(encoder())}
    rest = {"opt": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": None, "epoch": 300, "loss": 0.1}
    torch.save({**parts, **rest, **changed}, file)
    return file


def clips(count: int = 2, frames: int = FRAMES, side: int = PIXELS, seed: int = 3) -> Tensor:
    return randn(count, 3, frames, side, side, seed=seed)


def subsets(count: int, seed: int, batch: int = 2, tokens: int = TOKENS) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(tokens, generator=rng)[:count].sort().values for _ in range(batch)])


def encode(weights: dict[str, Tensor], heads: int, seen: Tensor, mask: Tensor | None = None) -> Tensor:
    """What V-JEPA's encoder makes of clips."""
    filters = weights["patch_embed.proj.weight"]
    _, _, f, p, _ = filters.shape
    tokens = [
        torch.einsum("bctij,dctij->bd", seen[:, :, t : t + f, r : r + p, c : c + p], filters)
        + weights["patch_embed.proj.bias"]
        for t in range(0, seen.shape[2], f)
        for r in range(0, seen.shape[3], p)
        for c in range(0, seen.shape[4], p)
    ]
    x = torch.stack(tokens, 1) + weights["pos_embed"]
    if mask is not None:
        x = reference.take(x, [mask])
    for i in range(DEPTH):
        x = reference.block(x, weights, f"blocks.{i}", heads)
    return reference.layer_norm(x, weights, "norm")


def predict(weights: dict[str, Tensor], heads: int, z: Tensor, context: Tensor, target: Tensor, token: int) -> Tensor:
    """What V-JEPA's predictor makes of the context's representations."""
    chosen = {**weights, "mask_token": weights[f"mask_tokens.{token}"]}
    return reference.predict(chosen, heads, z, [context], [target], batch=len(z))


# --- V-JEPA 2, by transformers ----------------------------------------------------------------------------------------

SIZES = {
    "hidden_size": 80,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "mlp_ratio": 1.35,
    "pred_hidden_size": 96,
    "pred_num_attention_heads": 12,
    "pred_num_hidden_layers": 2,
    "pred_num_mask_tokens": 4,
    "patch_size": PATCH,
    "crop_size": PIXELS,
    "frames_per_clip": FRAMES,
    "tubelet_size": TUBELET,
}
"""Heads of 20 and of 8 features, neither of which is a multiple of six."""


def hf(seed: int = 1, **words: Any) -> Any:
    """A random `VJEPA2Model` of transformers."""
    from transformers import VJEPA2Config, VJEPA2Model

    torch.manual_seed(seed)
    model = VJEPA2Model(VJEPA2Config(**{**SIZES, **words})).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return model


def official_names(model: Any) -> dict[str, dict[str, Tensor]]:
    """The weights of a `VJEPA2Model` as encoder and predictor of an official file, by the published table of names."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "predictor": {}}
    state = dict(model.state_dict())
    for i, token in enumerate(state.pop("predictor.embeddings.mask_tokens")):
        parts["predictor"][f"mask_tokens.{i}"] = token
    for name, value in state.items():
        part, _, rest = name.partition(".")
        before = "predictor_" if part == "predictor" else ""
        rest = rest.replace("embeddings.patch_embeddings.", "patch_embed.").replace(
            "embeddings.predictor_embeddings", "embed"
        )
        rest = rest.replace("layernorm", "norm").replace("layer.", "blocks.").replace("attention.", "attn.")
        if re.search(r"attn\.(query|key)\.", rest):
            continue
        if "attn.value." in rest:
            three = [state[name.replace(".value.", f".{one}.")] for one in ("query", "key", "value")]
            rest, value = rest.replace(".value.", ".qkv."), torch.cat(three)
        parts[part][before + rest] = value.clone()
    return parts


def save_vjepa2(file: Path, model: Any, other: Any | None = None, **changed: object) -> Path:
    """A file of V-JEPA 2 whose target encoder and predictor are those of `model`; `other` gives the encoder."""
    parts, trained = official_names(model), official_names(other or model)
    torch.save(
        {
            "encoder": wrapped(trained["encoder"]),
            "predictor": wrapped(parts["predictor"]),
            "target_encoder": wrapped(parts["encoder"]),
            "epoch": 1,
            **changed,
        },
        file,
    )
    return file


@torch.no_grad()
def hf_encode(model: Any, seen: Tensor) -> Tensor:
    out: Tensor = model(seen.transpose(1, 2), skip_predictor=True).last_hidden_state
    return out


@torch.no_grad()
def hf_predict(model: Any, seen: Tensor, context: Tensor, target: Tensor, token: int) -> Tensor:
    """What `VJEPA2Model` predicts if its encoder sees the context alone."""
    x = model.encoder.embeddings(seen.transpose(1, 2))
    x = torch.stack([one[index] for one, index in zip(x, context, strict=True)])
    for layer in model.encoder.layer:
        x = layer(x, context)[0]
    z = torch.zeros(len(seen), TOKENS, x.shape[-1])
    for row, index, values in zip(z, context, model.encoder.layernorm(x), strict=True):
        row[index] = values
    tokens = model.predictor.embeddings.mask_tokens
    kept = tokens.detach().clone()
    tokens.copy_(kept.roll(1 - token, 0))  # the model always asks with token 1
    out: Tensor = model.predictor(z, [context], [target]).last_hidden_state
    tokens.copy_(kept)
    return out
