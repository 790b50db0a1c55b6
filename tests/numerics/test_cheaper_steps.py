"""What makes a step cheaper: the options that alter its arithmetic, and the paths that must not."""

from __future__ import annotations

import pytest
import torch

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.masks import MultiBlock
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.train import allocator
from worldjepa.types import Grid, Masks, Tokens


def context(sets: int) -> Tokens:
    grid = Grid(1, 4, 4)
    x = torch.randn(2, sets, 5, 16, generator=torch.Generator().manual_seed(0))
    return Tokens(x, grid.pos()[:5].expand(2, sets, 5, 3))


def predictor(joint: bool) -> MaskTokenViT:
    torch.manual_seed(0)
    return MaskTokenViT(16, dim=8, depth=2, heads=2, init="xavier", joint=joint)


def test_one_target_is_answered_alike_jointly_or_not() -> None:
    query = Grid(1, 4, 4).pos()[6:12].expand(2, 1, 6, 3)
    apart, joint = (predictor(kind)(context(1), query).x for kind in (False, True))
    torch.testing.assert_close(apart, joint, rtol=0, atol=0)


def test_joint_targets_are_one_sequence() -> None:
    query = Grid(1, 4, 4).pos()[6:12].reshape(1, 3, 2, 3).expand(2, 3, 2, 3)
    joint = predictor(True)
    folded = joint(context(1), query.reshape(2, 1, 6, 3)).x.reshape(2, 3, 2, 16)
    torch.testing.assert_close(joint(context(1), query).x, folded, rtol=0, atol=0)
    assert not torch.allclose(predictor(False)(context(1), query).x, folded)


def test_joint_targets_need_one_context() -> None:
    with pytest.raises(UserError, match=r"predictor\.joint.*make 3"):
        predictor(True)(context(3), torch.zeros(2, 3, 2, 3))


def test_only_the_targets_are_rounded_in_bfloat16() -> None:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 16), dim=16, depth=2, heads=2, init="xavier")
    index = torch.arange(16).expand(2, 1, 16)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    full, rounded = (EMA(encoder, 1, low_precision=kind)(images, [Masks(index, index)])[0].x for kind in (False, True))
    assert full.dtype is rounded.dtype is torch.float32
    assert 0 < (full - rounded).abs().max() < 0.1
    assert not torch.is_autocast_enabled("cpu")


def test_contexts_are_drawn_one_after_another() -> None:
    once, twice = MultiBlock(), MultiBlock(contexts=2)
    (first,) = once(Grid(1, 14, 14), 4, torch.Generator().manual_seed(0))
    both = twice(Grid(1, 14, 14), 4, torch.Generator().manual_seed(0))
    assert len(both) == 2
    assert torch.equal(both[0].context, first.context)
    assert both[1].target.shape != first.target.shape or not torch.equal(both[1].target, first.target)
    with pytest.raises(UserError, match="contexts must be at least 1"):
        MultiBlock(contexts=0)


@pytest.mark.parametrize("floats", [False, True])
def test_seen_patches_alone_are_what_all_patches_give(floats: bool) -> None:
    tokenizer = Patches(4, 16)
    images = torch.randint(0, 256, (2, 3, 12, 20), dtype=torch.uint8)
    obs = images.float() / 100 if floats else images
    keep = torch.stack([torch.randperm(15)[:6].view(2, 3) for _ in range(2)])
    alone, all_of_them = tokenizer.visible(obs, keep), tokenizer(obs).select(keep)
    assert torch.equal(alone.pos, all_of_them.pos)
    torch.testing.assert_close(alone.x, all_of_them.x, rtol=1e-5, atol=1e-5)
    alone.x.square().sum().backward()
    mine = tokenizer.proj.weight.grad
    tokenizer.zero_grad()
    all_of_them.x.square().sum().backward()
    torch.testing.assert_close(mine, tokenizer.proj.weight.grad, rtol=1e-4, atol=1e-3)


def test_the_allocator_is_asked_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert allocator.keep_freed_memory() is False
