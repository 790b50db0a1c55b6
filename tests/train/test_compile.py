"""Compiled blocks: one graph for each role, however long the masks are."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.jepa import JEPA
from worldjepa.masks import MultiBlock
from worldjepa.nn.blocks import Block
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.train.run import switch_on
from worldjepa.train.settings import RunSettings
from worldjepa.types import Batch, Grid

ROLES = 4
"""Target, encoder, predictor, and the predictor's last block."""


# PyTorch warns itself while it traces a block whose input is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_every_role_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def trace(self: Block, **options: object) -> None:
        torch.nn.Module.compile(self, backend="eager", **options)

    monkeypatch.setattr(Block, "compile", trace)
    with torch._dynamo.config.patch(recompile_limit=8):
        steps_of_all_lengths()
    torch._dynamo.reset()


def steps_of_all_lengths() -> None:
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 24), 24, depth=2, heads=2)
    model = JEPA(encoder, MaskTokenViT(24, 16, depth=2, heads=2), EMA(encoder, 1), SmoothL1())
    switch_on(model, RunSettings(compile=True))
    rng, shapes = torch.Generator().manual_seed(0), set()
    for _ in range(5):
        masks = MultiBlock(min_context=8)(Grid(1, 14, 14), 4, rng)
        shapes.add((masks[0].context.shape, masks[0].target.shape))
        torch.stack(list(model(Batch(torch.rand(4, 3, 56, 56), masks)).values())).sum().backward()
        assert counters["stats"]["unique_graphs"] == ROLES
    assert len(shapes) > 2, "the masks must differ in length"
