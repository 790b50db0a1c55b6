"""Models for others: folders that transformers and timm load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldjepa.encoders import ViT
from worldjepa.errors import UserError, unknown
from worldjepa.interop import export_vjepa2, huggingface, vit
from worldjepa.interop.model import Pretrained
from worldjepa.interop.saving import save, write_folder
from worldjepa.nn.positions import Positions, SinCos, Table
from worldjepa.types import Grid, Tokens

FORMATS = ("hf", "timm", "worldjepa")

TIMM = "vit_huge_patch14_gap_224"
"""timm's I-JEPA: no class token, the mean of the tokens. All of its sizes are overridden by `model_args`."""


def export(model: Pretrained, layout: str, folder: str | Path, size: int | None = None) -> Path:
    """Write a model in the layout of others, and return the folder.

    Args:
        model: the model; its predictor goes along where the layout has a place for it: those of images have none.
        layout: `hf` for transformers' `IJepaModel`, or for clips its `VJEPA2Model`; `timm`, or `worldjepa`.
        folder: a new or empty folder.
        size: side of images or clips in pixels, for models that are not bound to one; by default what they were trained on.

    Raises:
        UserError: there is no such layout, or it has no place for such a model.
        Unsaved: the disk does not take it.
    """
    if layout not in FORMATS:
        raise unknown("format", layout, FORMATS)
    if layout == "worldjepa":
        return save(model, folder)
    if layout == "hf" and export_vjepa2.takes_clips(model):
        return export_vjepa2.write(model, Path(folder), size)
    tensors, facts = official(model, layout, size)
    write = _write_hf if layout == "hf" else _write_timm
    return write(Path(folder), tensors, facts, model.facts["licence"])


def official(model: Pretrained, layout: str, size: int | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The encoder's tensors under their official names, and its sizes.

    Raises:
        UserError: it is not the vision transformer of I-JEPA on square patches of images.
    """
    encoder, node = model.encoder, model.facts["encoder"]
    tokenizer = node.get("tokenizer") or {}
    if (
        not isinstance(encoder, ViT)
        or tokenizer.get("_target_") != "modalities.image.tokenizer.Patches"
        or not _adds_image_code(encoder.positions)
    ):
        raise UserError(
            f"format={layout} holds image encoders of I-JEPA's kind only, not {node.get('_target_')} "
            f"on {tokenizer.get('_target_')}"
        )
    state = {name: value for name, value in encoder.state_dict().items() if name != "positions.table"}
    named = {name.replace("tokenizer.proj.", "patch_embed.proj."): value for name, value in state.items()}
    grid, code = _positions(model, encoder, size)
    named["pos_embed"] = code[None]
    block: Any = encoder.blocks[0]
    return named, {
        "width": encoder.dim,
        "depth": len(encoder.blocks),
        "heads": block.attn.heads,
        "hidden": block.mlp.fc1.out_features,
        "patch": tokenizer["patch"],
        "channels": tokenizer["channels"],
        "grid": grid,
        "eps": encoder.norm.eps,
    }


def _adds_image_code(positions: Positions) -> bool:
    """Whether a position code can be written as one number for each feature of each patch, in I-JEPA's order."""
    return isinstance(positions, Table) or (isinstance(positions, SinCos) and positions.axes == "wh")


def _positions(model: Pretrained, encoder: ViT, size: int | None) -> tuple[Grid, Tensor]:
    """The lattice to export for and its position code."""
    image = model.facts["image"]
    if size is None and image is None:
        raise UserError("this model is not bound to a size of image: give size=PIXELS")
    channels = model.facts["encoder"]["tokenizer"]["channels"]
    shape = (channels, size, size) if size is not None else tuple(image or ())
    grid, pos = encoder.grid(shape), encoder.coordinates(shape)
    nothing = torch.zeros(len(pos), encoder.dim, device=pos.device)
    return grid, encoder.positions.added(Tokens(nothing, pos)).detach()


def _write_hf(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], licence: str | None) -> Path:
    grid, patch = facts["grid"], facts["patch"]
    image = [grid.h * patch, grid.w * patch]
    config = {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "hidden_size": facts["width"],
        "num_hidden_layers": facts["depth"],
        "num_attention_heads": facts["heads"],
        "intermediate_size": facts["hidden"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": facts["eps"],
        "image_size": image[0] if image[0] == image[1] else image,
        "patch_size": patch,
        "num_channels": facts["channels"],
        "qkv_bias": True,
        "dtype": "float32",
        "license": licence,
    }
    named = huggingface.from_official(tensors, facts["depth"])
    return write_folder(folder, config, named, {"format": "pt"})


def _write_timm(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], licence: str | None) -> Path:
    if facts["eps"] != vit.EPS:
        raise UserError(f"format=timm: its layer norms have epsilon {vit.EPS}, those of this model {facts['eps']}")
    grid, patch, width = facts["grid"], facts["patch"], facts["width"]
    shape = [facts["channels"], grid.h * patch, grid.w * patch]
    config = {
        "architecture": TIMM,
        "num_classes": 0,
        "num_features": width,
        "global_pool": "avg",
        "model_args": {
            "img_size": shape[1:],
            "patch_size": patch,
            "in_chans": shape[0],
            "embed_dim": width,
            "depth": facts["depth"],
            "num_heads": facts["heads"],
            "mlp_ratio": vit.ratio_rounded_down(facts["hidden"], width),
        },
        "pretrained_cfg": {
            "input_size": shape,
            "fixed_input_size": True,
            "interpolation": "bilinear",
            "mean": [0.485, 0.456, 0.406] if shape[0] == 3 else [0.449] * shape[0],
            "std": [0.229, 0.224, 0.225] if shape[0] == 3 else [0.226] * shape[0],
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "license": licence,
    }
    return write_folder(folder, config, tensors, {"format": "pt"})
