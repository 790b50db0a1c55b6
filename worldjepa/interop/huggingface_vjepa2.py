"""The folder that transformers writes for `VJEPA2Model`: encoder and predictor of V-JEPA 2, query, key and value apart.

transformers takes coordinates from the side of clips in its config.json; here they are those of the clip at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from worldjepa.interop import vit
from worldjepa.interop.clips import read_encoder, read_predictor
from worldjepa.interop.huggingface import (
    block_names,
    check_agrees,
    check_needed,
    check_whole,
    cut_thirds,
    joined_thirds,
)
from worldjepa.interop.layout import Found, Layout, vjepa2_terms
from worldjepa.interop.sizes import VJEPA2, Ask, axes_of, check_names, depth_of
from worldjepa.interop.source import Source, without_prefix

NAME = "Hugging Face, V-JEPA 2"

LAYERS = {
    "norm1": "norm1",
    "attn.q": "attention.query",
    "attn.k": "attention.key",
    "attn.v": "attention.value",
    "attn.proj": "attention.proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""The layers of a block: official names, with `qkv` in three, and those of transformers."""

ENCODER = {"patch_embed.proj": "encoder.embeddings.patch_embeddings.proj", "norm": "encoder.layernorm"}
PREDICTOR = {
    "predictor_embed": "predictor.embeddings.predictor_embeddings",
    "predictor_norm": "predictor.layernorm",
    "predictor_proj": "predictor.proj",
}
"""The same of what lies outside the blocks."""

MASK_TOKENS = "predictor.embeddings.mask_tokens"
"""All of them in one tensor `[tokens, 1, 1, width]`."""

DEFAULTS = {"num_attention_heads": 16, "pred_num_attention_heads": 12}
"""What transformers takes where config.json says nothing."""

_WHOLE = ("hidden_size", "num_hidden_layers", "pred_hidden_size", "pred_num_hidden_layers", *DEFAULTS)
_CLIPS = ("crop_size", "frames_per_clip")


def matches(source: Source) -> bool:
    """Whether config.json says that this is a V-JEPA 2 of transformers."""
    return source.config.get("model_type") == "vjepa2"


def read(source: Source, ask: Ask) -> Found:
    """Read encoder and predictor.

    Raises:
        UserError: config.json says what cannot be, or the tensors are not exactly those of a `VJEPA2Model`.
    """
    where = str(source.path)
    config = {**DEFAULTS, **source.config}
    for key in (*_WHOLE, *_CLIPS):
        check_whole(config, key, 1 << 20, where)
    check_needed(config, {"hidden_act": "gelu", "qkv_bias": True, "layer_norm_eps": vit.EPS}, "V-JEPA 2", where)
    parts = official(without_prefix(source.tensors(), "vjepa2."), where)
    encoder = read_encoder(parts["encoder"], ask, where, VJEPA2, stored=False, said_heads=config["num_attention_heads"])
    heads = config["pred_num_attention_heads"]
    predictor = read_predictor(parts["predictor"], encoder.node, heads, f"{where} (predictor)", stored=False)
    node, narrow = encoder.node, predictor.node
    actual = {"hidden_size": node["dim"], "num_hidden_layers": node["depth"], "patch_size": node["tokenizer"]["patch"]}
    actual |= {"tubelet_size": node["tokenizer"]["frames"], "in_chans": node["tokenizer"]["channels"]}
    actual |= {"pred_hidden_size": narrow["dim"], "pred_num_hidden_layers": narrow["depth"]}
    check_agrees(source.config, {**actual, "pred_num_mask_tokens": narrow["mask_tokens"]}, where)
    told = None if config.get("license", "") is None else vjepa2_terms(where, certain=False)
    return Found(NAME, encoder, predictor, _clip(config, node["tokenizer"]["channels"]), told)


def official(tensors: Mapping[str, Tensor], where: str) -> dict[str, dict[str, Tensor]]:
    """Tensors of `encoder` and `predictor` under their official names.

    Raises:
        UserError: a tensor is missing or left over.
    """
    own = {
        "encoder": encoder_names(depth_of(tensors, "encoder.layer.")),
        "predictor": predictor_names(depth_of(tensors, "predictor.layer.")),
    }
    check_names(tensors, [*own["encoder"].values(), MASK_TOKENS, *own["predictor"].values()], where)
    parts = {
        part: joined_thirds({name: tensors[theirs] for name, theirs in names.items()}, where)
        for part, names in own.items()
    }
    axes_of(tensors[MASK_TOKENS], 4, MASK_TOKENS, where)
    parts["predictor"] |= {f"mask_tokens.{i}": token for i, token in enumerate(tensors[MASK_TOKENS])}
    return parts


def encoder_names(depth: int) -> dict[str, str]:
    """Official names of an encoder's tensors, with `qkv` in three, and transformers' own."""
    return {**_outer(ENCODER), **block_names(depth, LAYERS, "blocks.", "encoder.layer.")}


def predictor_names(depth: int) -> dict[str, str]:
    """The same of a predictor's, but for its mask tokens."""
    return {**_outer(PREDICTOR), **block_names(depth, LAYERS, "predictor_blocks.", "predictor.layer.")}


def _outer(layers: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}.{kind}": f"{theirs}.{kind}" for name, theirs in layers.items() for kind in ("weight", "bias")}


def from_official(
    encoder: Mapping[str, Tensor], predictor: Mapping[str, Tensor], mask_tokens: Tensor, depths: tuple[int, int]
) -> dict[str, Tensor]:
    """Tensors under transformers' names.

    Args:
        encoder: the encoder's under their official names.
        predictor: likewise.
        mask_tokens: of the shape `[tokens, 1, width]`.
        depths: blocks of encoder and predictor.
    """
    return {
        **cut_thirds(encoder, encoder_names(depths[0])),
        **cut_thirds(predictor, predictor_names(depths[1])),
        MASK_TOKENS: mask_tokens[:, None],
    }


def _clip(config: Mapping[str, Any], channels: int) -> tuple[int, ...] | None:
    """Channels, frames, height and width of the clips that config.json speaks of."""
    frames, side = config.get("frames_per_clip"), config.get("crop_size")
    return None if frames is None or side is None else (channels, frames, side, side)


LAYOUT = Layout(NAME, matches, read, VJEPA2)
