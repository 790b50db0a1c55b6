"""The folder that transformers writes for `IJepaModel`: config.json and the encoder's weights, query, key and value apart.

Its modules were renamed in version 5, which still writes the older names; both are read. An encoder
alone, the predictor is left out. The epsilon of the layer norms
is what config.json says: transformers' default, 1e-12, is not I-JEPA's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interop.layout import Found, Layout, meta_terms
from worldjepa.interop.sizes import Ask, check_names, depth_of
from worldjepa.interop.source import Source, without_prefix
from worldjepa.interop.vit import image_of, lattice, read_encoder

NAME = "Hugging Face"
DEFAULT_EPS = 1e-12

OUTER = {
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
"""The official name of what lies outside the blocks, and transformers' name."""

NEW = {
    "norm1": "layernorm_before",
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
OLD = {
    "norm1": "layernorm_before",
    "attn.q": "attention.attention.query",
    "attn.k": "attention.attention.key",
    "attn.v": "attention.attention.value",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
"""The layers of a block: official names, with `qkv` in three, and those of transformers in version 5 and on disk."""


def matches(source: Source) -> bool:
    """Whether config.json says that this is an I-JEPA of transformers."""
    return source.config.get("model_type") == "ijepa"


def read(source: Source, ask: Ask) -> Found:
    """Read the encoder.

    Raises:
        UserError: config.json says what cannot be, or the tensors are not exactly those of an `IJepaModel`.
    """
    where, config = str(source.path), source.config
    _check(config, where)
    tensors = without_prefix(source.tensors(), "ijepa.")
    official = to_official(tensors, where)
    grid = lattice(config.get("image_size"), config.get("patch_size"))
    heads, eps = config.get("num_attention_heads", 12), config.get("layer_norm_eps", DEFAULT_EPS)
    encoder = read_encoder(official, ask, where, heads, grid, float(eps))
    check_agrees(config, {"hidden_size": encoder.node["dim"], "num_hidden_layers": encoder.node["depth"]}, where)
    told = None if config.get("license", "") is None else meta_terms(where, certain=False)
    return Found(NAME, encoder, None, image_of(encoder.node), told)


def names(depth: int, layers: Mapping[str, str], stack: str) -> dict[str, str]:
    """Official names, with `qkv` in three, and transformers' own."""
    return {**OUTER, **block_names(depth, layers, "blocks.", stack)}


def block_names(depth: int, layers: Mapping[str, str], official: str, stack: str) -> dict[str, str]:
    """The same of a stack of blocks, whose names begin with `official` there and with `stack` here."""
    return {
        f"{official}{i}.{layer}.{kind}": f"{stack}{i}.{own}.{kind}"
        for i in range(depth)
        for layer, own in layers.items()
        for kind in ("weight", "bias")
    }


def to_official(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors under their official names, query, key and value joined in that order.

    Raises:
        UserError: a tensor is missing or left over.
    """
    old = any(name.startswith("encoder.layer.") for name in tensors)
    layers, stack = (OLD, "encoder.layer.") if old else (NEW, "layers.")
    own = names(depth_of(tensors, stack), layers, stack)
    check_names(tensors, list(own.values()), where)
    return joined_thirds({official: tensors[name] for official, name in own.items()}, where)


def joined_thirds(apart: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors under official names, with query, key and value joined in that order.

    Raises:
        UserError: the three are not of one shape.
    """
    joined = {name: value for name, value in apart.items() if not re.search(r"\.attn\.[qkv]\.", name)}
    for name in apart:
        if ".attn.q." in name:
            three = [apart[name.replace(".attn.q.", f".attn.{one}.")] for one in "qkv"]
            if len({value.shape for value in three}) > 1 or not three[0].ndim:
                raise UserError(f"{where}: query, key and value of '{name}' are not of one shape")
            joined[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(three)
    return joined


def from_official(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Tensors under transformers' names, `qkv` cut into three: the older names, which its version 5 still writes."""
    return cut_thirds(tensors, names(depth, OLD, "encoder.layer."))


def cut_thirds(tensors: Mapping[str, Tensor], own: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors under the names that `own` gives for the official ones, `qkv` cut into three."""
    result = {}
    for official, name in own.items():
        cut = re.search(r"\.attn\.([qkv])\.", official)
        if cut is None:
            result[name] = tensors[official]
        else:
            joined = tensors[official.replace(cut[0], ".attn.qkv.")]
            result[name] = joined.chunk(3)["qkv".index(cut[1])].contiguous()
    return result


def _check(config: Mapping[str, Any], where: str) -> None:
    for key, most in (("num_attention_heads", 1 << 16), ("hidden_size", 1 << 20), ("num_hidden_layers", 1 << 16)):
        check_whole(config, key, most, where)
    eps = config.get("layer_norm_eps", DEFAULT_EPS)
    if type(eps) not in (int, float) or not 0 <= eps < 1:
        raise UserError(f"{where}: config.json says layer_norm_eps={str(eps)[:80]}, which is not a number from 0 to 1")
    check_needed(config, {"hidden_act": "gelu", "qkv_bias": True}, "I-JEPA", where)


def check_whole(config: Mapping[str, Any], key: str, most: int, where: str) -> None:
    """Make sure that a configuration says a whole number from 1 to `most`, or nothing.

    Raises:
        UserError: it says something else.
    """
    value = config.get(key)
    if value is not None and not (type(value) is int and 0 < value <= most):
        raise UserError(
            f"{where}: config.json says {key}={str(value)[:80]}, which is not a whole number from 1 to {most}"
        )


def check_needed(config: Mapping[str, Any], needed: Mapping[str, object], method: str, where: str) -> None:
    """Make sure that a configuration says what a method has, or nothing.

    Raises:
        UserError: it says something else.
    """
    for key, value in needed.items():
        if config.get(key, value) != value:
            raise UserError(f"{where}: config.json says {key}={str(config[key])[:80]}, but {method} has {value}")


def check_agrees(config: Mapping[str, Any], actual: Mapping[str, object], where: str) -> None:
    """Make sure that a configuration says of the tensors what they are, or nothing.

    Raises:
        UserError: it says something else.
    """
    for key, value in actual.items():
        if key in config and config[key] != value:
            raise UserError(f"{where}: config.json says {key}={str(config[key])[:80]}, the tensors {value}")


LAYOUT = Layout(NAME, matches, read)
