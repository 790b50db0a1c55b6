"""The Python of docs/checkpoints.md runs, on a small model of a published size in the official layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.nn.positions import Table
from worldjepa.predictors import MaskTokenViT

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def official(module: torch.nn.Module, table: str) -> dict[str, Tensor]:
    """A module's weights under their official names."""
    named = {name.replace("tokenizer.", "patch_embed."): value for name, value in module.state_dict().items()}
    named[table] = named.pop("positions.table")[None]
    return {f"module.{name}": value for name, value in named.items()}


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
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["tokens"].x.shape == (2, 256, 192)
    assert names["seen"].x.shape == (2, 128, 192)
    assert names["predicted"].x.shape == (2, 4, 32, 192)
    changed, again = names["model"].state_dict(), names["again"].state_dict()
    assert all(torch.equal(value, changed[name]) for name, value in again.items())
    assert not torch.equal(again["encoder.norm.weight"], encoder.norm.weight)
