"""The vision transformers of V-JEPA and V-JEPA 2 under their official names: sizes, our names, nodes to build them from.

What the released weights depend on, beside what `vit.py` says of I-JEPA's, which has the same blocks:

- tokens are tubelets, a convolution over frames, rows and columns; they come frame by frame and row by row;
- V-JEPA's position code is stored, not learned: time, row and column have an equal share of the width, which is filled up
  and cut off where it does not divide. It is kept as stored, and interpolated for other clips;
- V-JEPA 2 turns queries and keys instead, by the formula of `Rotary("thw", tiled=True)`, and stores nothing;
- the predictor has several mask tokens, each of shape `[1, 1, width]`, zero at the start of training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interop import vit
from worldjepa.interop.ijepa import ENCODERS
from worldjepa.interop.layout import Node, Part
from worldjepa.interop.sizes import Ask, Family, Shape, axes_of, check_names, depth_of, heads_of
from worldjepa.interop.source import Source, without_prefix
from worldjepa.nn.positions import sincos
from worldjepa.types import Grid

PREFIX = "backbone."
"""Of every name in an official file, behind `module.`: that of a wrapper that takes several masks."""

ROTARY: Node = {"_target_": "worldjepa.nn.rotary.Rotary", "axes": "thw", "tiled": True}

CODES = ("pos_embed", "predictor_pos_embed")

_MASK_TOKEN = re.compile(r"mask_tokens\.\d{1,6}")


def parts_of_clips(source: Source) -> dict[str, set[str]]:
    """The names in each part of an official file, without prefixes; none if it is not one of V-JEPA or V-JEPA 2."""
    if not source.path.is_file():
        return {}
    parts = {
        part: found
        for part in (*ENCODERS, "predictor")
        if part in source.keys and isinstance(found := source.content[part], Mapping)
    }
    wrapped = any(str(name).startswith(f"module.{PREFIX}") for found in parts.values() for name in found)
    if not wrapped and not any(_makes_tubelets(found) for found in parts.values()):
        return {}
    return {
        part: {str(name).removeprefix("module.").removeprefix(PREFIX) for name in found}
        for part, found in parts.items()
    }


def _makes_tubelets(part: Mapping[str, Any]) -> bool:
    return any(
        str(name).endswith("patch_embed.proj.weight") and isinstance(value, Tensor) and value.ndim == 5
        for name, value in part.items()
    )


def turns(parts: Mapping[str, set[str]]) -> bool:
    """Whether these are the names of V-JEPA 2, whose positions are rotary.

    Its files may hold the position code of V-JEPA, which it does not use. V-JEPA has no more than two mask tokens.
    """
    stored = any(code in names for names in parts.values() for code in CODES)
    return not stored or mask_tokens_in(parts.get("predictor", set())) > 2


def mask_tokens_in(names: set[str]) -> int:
    """How many mask tokens the names speak of."""
    return sum(_MASK_TOKEN.fullmatch(name) is not None for name in names)


def part_of(source: Source, part: str) -> dict[str, Tensor]:
    """The tensors of a part of an official file, without prefixes."""
    return without_prefix(source.tensors(part), PREFIX)


def read_encoder(
    tensors: Mapping[str, Tensor],
    ask: Ask,
    where: str,
    family: Family,
    stored: bool,
    said_heads: int | None = None,
) -> Part:
    """An encoder from tensors under their official names.

    Args:
        tensors: all of them.
        ask: what the user says.
        where: the file, for messages.
        family: the sizes that were published.
        stored: whether there is a position code among the tensors; otherwise positions are rotary.
        said_heads: heads that a configuration beside the weights names.

    Raises:
        UserError: tensors are missing, left over or of strange shapes; or the number of heads is not known.
    """
    depth = depth_of(tensors, "blocks.")
    check_names(tensors, [name for name in vit.encoder_names(depth) if stored or name not in CODES], where)
    if not depth:
        raise UserError(f"{where} holds no transformer block")
    projection = "patch_embed.proj.weight"
    width, channels, frames, patch, other = axes_of(tensors[projection], 5, projection, where)
    if patch != other:
        raise UserError(f"{where}: its patches of {patch} x {other} are not square")
    hidden = axes_of(tensors["blocks.0.mlp.fc1.weight"], 2, "blocks.0.mlp.fc1.weight", where)[0]
    node = {
        "_target_": "worldjepa.encoders.ViT",
        "tokenizer": {
            "_target_": "modalities.video.tokenizer.Tubelets",
            "patch": patch,
            "dim": width,
            "frames": frames,
            "channels": channels,
        },
        "dim": width,
        "depth": depth,
        "heads": heads_of(Shape(width, depth, hidden), patch, ask, said_heads, where, family),
        "mlp_ratio": hidden / width,
        "norm_eps": vit.EPS,
        "positions": _stored(tensors["pos_embed"], width, "pos_embed", where) if stored else ROTARY,
    }
    return Part(node, vit.ours(tensors))


def read_predictor(tensors: Mapping[str, Tensor], encoder: Node, heads: int, where: str, stored: bool) -> Part:
    """The predictor that belongs to an encoder, from tensors under their official names.

    Raises:
        UserError: tensors are missing, left over or of strange shapes.
    """
    depth, count = depth_of(tensors, "predictor_blocks."), mask_tokens_in(set(tensors))
    tokens = [f"mask_tokens.{i}" for i in range(max(count, 1))]
    names = [name for name in vit.predictor_names(depth) if name != "mask_token" and (stored or name not in CODES)]
    check_names(tensors, [*tokens, *names], where)
    if not depth:
        raise UserError(f"{where}: the predictor holds no transformer block")
    _, _, width = axes_of(tensors[tokens[0]], 3, tokens[0], where)
    if any(tensors[name].shape != (1, 1, width) for name in tokens):
        raise UserError(f"{where}: its mask tokens are not all of the shape [1, 1, {width}]")
    if width % heads:
        raise UserError(f"{where}: the predictor's width {width} does not divide among {heads} heads")
    hidden = axes_of(tensors["predictor_blocks.0.mlp.fc1.weight"], 2, "predictor_blocks.0.mlp.fc1.weight", where)[0]
    node = {
        "_target_": "worldjepa.predictors.MaskTokenViT",
        "input_dim": encoder["dim"],
        "dim": width,
        "depth": depth,
        "heads": heads,
        "mlp_ratio": hidden / width,
        "positions": {**encoder["positions"], "dim": width} if stored else ROTARY,
        "mask_tokens": count,
    }
    rest = {name: value for name, value in tensors.items() if name not in tokens}
    return Part(node, {**vit.ours(rest), "mask_token": torch.cat([tensors[name] for name in tokens])})


def clip_of(encoder: Node) -> tuple[int, int, int, int]:
    """Channels, frames, height and width of the clips that a stored position code is for."""
    tokenizer, lattice = encoder["tokenizer"], encoder["positions"]
    sides = (lattice["height"] * tokenizer["patch"], lattice["width"] * tokenizer["patch"])
    return (tokenizer["channels"], lattice["times"] * tokenizer["frames"], *sides)


def _stored(code: Tensor, width: int, name: str, where: str) -> Node:
    """The node of a stored code, whose lattice is found out by comparing its last row with the formula's.

    Raises:
        UserError: it is the formula's code for no clip of square frames.
    """
    one, tokens, own = axes_of(code, 3, name, where)
    if one != 1 or own != width:
        raise UserError(f"{where}: '{name}' has the shape {list(code.shape)}, expected [1, {tokens}, {width}]")
    last = code[0, -1].float()
    for side in range(isqrt(tokens), 0, -1):
        times, rest = divmod(tokens, side * side)
        if not rest:
            corner = Grid(times, side, side).pos()[-1:]
            # Half a unit of the last place of bfloat16 below 1, doubled: neighbouring positions are farther apart.
            if float((last - sincos(corner, width, "thw")[0]).abs().max()) < 8e-3:
                lattice = {"times": times, "height": side, "width": side}
                return {"_target_": "worldjepa.nn.volume.Volume", **lattice, "dim": width}
    raise UserError(f"{where}: '{name}' of {tokens} tokens is the sine-cosine code of no clip of square frames")
