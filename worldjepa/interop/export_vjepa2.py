"""Models of V-JEPA 2's kind for transformers: a folder that `VJEPA2Model` loads, with the predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.interop import huggingface_vjepa2, vit
from worldjepa.interop.model import Pretrained
from worldjepa.interop.saving import write_folder
from worldjepa.nn.rotary import Rotary
from worldjepa.predictors import MaskTokenViT

FRAMES = 64
"""Frames of a clip that the configuration speaks of where a model is not bound to a number; nothing depends on it."""


def takes_clips(model: Pretrained) -> bool:
    """Whether a model's tokens are tubelets."""
    tokenizer = model.facts["encoder"].get("tokenizer") or {}
    return bool(tokenizer.get("_target_") == "modalities.video.tokenizer.Tubelets")


def write(model: Pretrained, folder: Path, size: int | None) -> Path:
    """Write the folder and return it.

    Args:
        model: the model.
        folder: a new or empty folder.
        size: side of the clips in pixels, from which transformers takes its coordinates; by default that of the training.

    Raises:
        UserError: it is not of V-JEPA 2's kind, or no size is known.
        Unsaved: the disk does not take it.
    """
    encoder, predictor = model.encoder, model.predictor
    if (
        not isinstance(encoder, ViT)
        or not isinstance(predictor, MaskTokenViT)
        or not (_tiled(encoder) and _tiled(predictor))
    ):
        raise UserError(
            "format=hf holds clips' encoders with a predictor if they are of V-JEPA 2's kind only, with the positions of "
            f"positions=rope_vjepa2, not {type(getattr(encoder, 'positions', encoder)).__name__}"
        )
    if encoder.norm.eps != vit.EPS:
        raise UserError(
            f"format=hf: V-JEPA 2's layer norms have epsilon {vit.EPS}, those of this model {encoder.norm.eps}"
        )
    image, tokenizer = model.facts["image"], model.facts["encoder"]["tokenizer"]
    if size is None and image is None:
        raise UserError("this model is not bound to a size of clips: give size=PIXELS")
    side = size if size is not None else image[-1]
    # Says in its own words what does not fit.
    encoder.grid((tokenizer["channels"], tokenizer.get("frames", 2), side, side))
    config = {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "patch_size": tokenizer["patch"],
        "crop_size": side,
        "frames_per_clip": image[1] if image is not None and len(image) == 4 else FRAMES,
        "tubelet_size": tokenizer.get("frames", 2),
        "in_chans": tokenizer["channels"],
        **_sizes(encoder, "hidden_size", "num_attention_heads", "num_hidden_layers", "mlp_ratio"),
        "layer_norm_eps": vit.EPS,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.02,
        **_sizes(predictor, "pred_hidden_size", "pred_num_attention_heads", "pred_num_hidden_layers", "pred_mlp_ratio"),
        "pred_num_mask_tokens": len(predictor.mask_token),
        "pred_zero_init_mask_tokens": True,
        "dtype": "float32",
        "license": model.facts["licence"],
    }
    named = huggingface_vjepa2.from_official(
        {name.replace("tokenizer.proj.", "patch_embed.proj."): value for name, value in encoder.state_dict().items()},
        predictor.state_dict(),
        predictor.mask_token,
        (len(encoder.blocks), len(predictor.predictor_blocks)),
    )
    return write_folder(folder, config, named, {"format": "pt"})


def _tiled(part: ViT | MaskTokenViT) -> bool:
    code = part.positions
    return isinstance(code, Rotary) and code.tiled and code.axes == "thw"


def _sizes(part: ViT | MaskTokenViT, width: str, heads: str, depth: str, ratio: str) -> dict[str, Any]:
    stack = part.blocks if isinstance(part, ViT) else part.predictor_blocks
    hidden: Tensor = stack[0].mlp.fc1.bias  # type: ignore[union-attr, assignment]
    return {width: part.dim, heads: part.heads, depth: len(stack), ratio: vit.ratio_rounded_down(len(hidden), part.dim)}
