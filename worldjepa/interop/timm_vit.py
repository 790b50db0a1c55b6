"""timm's layout: the official names without a prefix, one encoder, no predictor.

A folder that timm writes holds `config.json`, which names the architecture, and the weights; a single file holds the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worldjepa.errors import UserError
from worldjepa.interop.layout import Found, Layout, meta_terms
from worldjepa.interop.sizes import SIZES, Ask
from worldjepa.interop.source import Source
from worldjepa.interop.vit import image_of, lattice, read_encoder

NAME = "timm"


def matches(source: Source) -> bool:
    """Whether there are tensors under timm's names at the top."""
    if "model_type" in source.config or "format" in source.config:
        return False
    keys = {name.removeprefix("module.") for name in source.keys}
    return "patch_embed.proj.weight" in keys


def read(source: Source, ask: Ask) -> Found:
    """Read the encoder.

    Raises:
        UserError: it does not hold exactly the tensors of a vision transformer without class token, or its heads are unknown.
    """
    arguments = source.config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise UserError(f"{source.path}: model_args in its config.json must be an object")
    encoder = read_encoder(source.tensors(), ask, str(source.path), _heads(source.config, arguments), _grid(arguments))
    told = None if source.config.get("license", "") is None else meta_terms(source.path, certain=False)
    return Found(NAME, encoder, None, image_of(encoder.node), told)


def _heads(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> int | None:
    """What the folder's configuration says, or the size in the name of its architecture."""
    heads = arguments.get("num_heads")
    if heads is not None:
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise UserError(f"num_heads={heads!r} in config.json: must be a whole number, 1 or more")
        return heads
    words = str(config.get("architecture", "")).split("_")
    return SIZES[words[1]].heads if words[0] == "vit" and len(words) > 1 and words[1] in SIZES else None


def _grid(arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns, where the configuration says both sides of the image."""
    return lattice(arguments.get("img_size"), arguments.get("patch_size"))


LAYOUT = Layout(NAME, matches, read)
