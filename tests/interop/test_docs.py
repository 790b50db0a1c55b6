"""The Python of docs/checkpoints.md runs, on a small model of a published size in the official layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interop.acting import predictor as acting_predictor
from modalities.image.tokenizer import Patches
from modalities.video.tokenizer import Tubelets
from worldjepa.encoders import ViT
from worldjepa.interop.sizes import VJEPA2, Size
from worldjepa.nn.positions import Table
from worldjepa.nn.rotary import Rotary
from worldjepa.predictors import MaskTokenViT

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def official(module: torch.nn.Module, table: str) -> dict[str, Tensor]:
    """A module's weights under their official names."""
    named = {name.replace("tokenizer.", "patch_embed."): value for name, value in module.state_dict().items()}
    named[table] = named.pop("positions.table")[None]
    return {f"module.{name}": value for name, value in named.items()}


def save_vjepa2(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small V-JEPA 2 whose size counts as published."""
    monkeypatch.setitem(VJEPA2.sizes, "toy", Size(72, 1, 6, 288))  # type: ignore[arg-type]
    encoder = ViT(Tubelets(16, 72), 72, 1, 6, positions=Rotary("thw", tiled=True))
    predictor = MaskTokenViT(72, 96, 1, 12, positions=Rotary("thw", tiled=True), mask_tokens=10)
    named = {name.replace("tokenizer.", "patch_embed."): value for name, value in encoder.state_dict().items()}
    asking = predictor.state_dict()
    tokens = {f"mask_tokens.{i}": token[None] for i, token in enumerate(asking.pop("mask_token"))}
    parts = {"encoder": named, "target_encoder": named, "predictor": {**asking, **tokens}}
    wrapped = {part: {f"module.backbone.{name}": value for name, value in of.items()} for part, of in parts.items()}
    torch.save(wrapped, file)


def save_ac(file: Path) -> None:
    """A small V-JEPA 2-AC with the encoder of `save_vjepa2`'s size."""
    encoder = ViT(Tubelets(16, 72), 72, 1, 6, positions=Rotary("thw", tiled=True))
    named = {name.replace("tokenizer.", "patch_embed."): value for name, value in encoder.state_dict().items()}
    torch.save({"encoder": named, "predictor": acting_predictor(96, 72)}, file)


def run(block: str, names: dict[str, Any]) -> None:
    """Run the Python of a block."""
    exec(compile(block, str(PAGE), "exec"), names)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = ViT(Patches(14, 192), 192, 12, 3, positions=Table(16, 16, 192))
    predictor = MaskTokenViT(192, 24, 1, 3, positions=Table(16, 16, 24))
    parts = {
        "encoder": official(encoder, "pos_embed"),
        "target_encoder": official(encoder, "pos_embed"),
        "predictor": official(predictor, "predictor_pos_embed"),
    }
    torch.save(parts, "IN1K-vit.h.14-300e.pth.tar")
    save_vjepa2(Path("vitl.pt"), monkeypatch)
    save_ac(Path("vjepa2-ac-vitg.pt"))
    images, clips, acting, tuning = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    run(images, names)
    assert names["tokens"].x.shape == (2, 256, 192)
    assert names["seen"].x.shape == (2, 128, 192)
    assert names["predicted"].x.shape == (2, 4, 32, 192)
    run(clips, names)
    assert names["video"].facts["layout"] == "V-JEPA 2"
    assert names["tokens"].x.shape == (2, 128, 72)
    assert names["predicted"].x.shape == (2, 1, 64, 72)
    assert names["still"].x.shape == (2, 16, 72)
    run(acting, names)
    assert names["robot"].facts["layout"] == "V-JEPA 2-AC"
    assert names["seen"].x.shape == (1, 2, 16, 72)
    assert names["imagined"].states.shape == (1, 5, 3, 16, 72)
    run(tuning, names)
    changed, again = names["model"].state_dict(), names["again"].state_dict()
    assert all(torch.equal(value, changed[name]) for name, value in again.items())
    assert not torch.equal(again["encoder.norm.weight"], encoder.norm.weight)
