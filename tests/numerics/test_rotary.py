"""Rotary positions against literal restatements: the correct ones, and V-JEPA 2's released variant."""

from __future__ import annotations

import math

import pytest
import torch

from modalities.video.tokenizer import Tubelets
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.nn.positions import SinCos, sincos
from worldjepa.nn.rotary import Rotary, turned
from worldjepa.predictors import MaskTokenViT
from worldjepa.types import Grid, Tokens


def textbook(x: torch.Tensor, pos: torch.Tensor, axes: int, tiled: bool) -> torch.Tensor:
    """One head, token by token and pair by pair; x `[N, hd]`, pos `[N, 3]`."""
    width = 2 * (x.shape[1] // axes // 2)
    pairs = width // 2
    y = x.clone()
    for token in range(len(x)):
        for axis in range(axes):
            p = float(pos[token, axis])
            for pair in range(pairs):
                first = axis * width + 2 * pair
                a, b = float(x[token, first]), float(x[token, first + 1])
                powers = ((2 * pair) % pairs, (2 * pair + 1) % pairs) if tiled else (pair, pair)
                one, other = (p * 10000 ** (-power / pairs) for power in powers)
                y[token, first] = a * math.cos(one) - b * math.sin(one)
                y[token, first + 1] = b * math.cos(other) + a * math.sin(other)
    return y


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("head_dim", [16, 24, 32, 64, 80])
def test_turning_is_what_the_textbook_says(head_dim: int, tiled: bool) -> None:
    pos = Grid(3, 2, 4).pos()
    x = torch.randn(len(pos), head_dim, generator=torch.Generator().manual_seed(0))
    rotation = Rotary("thw", tiled).rotation(pos[None], head_dim)
    ours = turned(x[None, None], rotation)[0, 0]
    torch.testing.assert_close(ours, textbook(x, pos, 3, tiled), rtol=1e-5, atol=1e-5)
    used = 6 * (head_dim // 6)
    assert torch.equal(ours[:, used:], x[:, used:])


def test_scores_depend_on_distances_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 32, generator=torch.Generator().manual_seed(1))

    def score(first: list[float], second: list[float], tiled: bool = False) -> float:
        code = Rotary("thw", tiled)
        a = turned(q, code.rotation(torch.tensor([[first]]).float(), 32))
        b = turned(k, code.rotation(torch.tensor([[second]]).float(), 32))
        return float((a * b).sum())

    near, moved = score([1, 2, 3], [0, 4, 1]), score([6, 9, 5], [5, 11, 3])
    assert near == pytest.approx(moved, abs=1e-4)
    assert near != pytest.approx(score([1, 2, 3], [0, 4, 2]), abs=1e-3)
    tiled = score([1, 2, 3], [0, 4, 1], True), score([6, 9, 5], [5, 11, 3], True)
    assert tiled[0] != pytest.approx(tiled[1], abs=1e-2), "the released variant is no rotation"


def test_one_rotation_serves_samples_that_share_their_places() -> None:
    shared = Grid(2, 2, 2).pos().expand(5, -1, -1)
    code = Rotary("thw")
    assert code.rotation(shared, 32).cos.shape == (1, 1, 8, 32)
    assert torch.equal(code.rotation(shared, 32).cos[0], code.rotation(shared.clone(), 32).cos[3])


def test_room_is_checked() -> None:
    with pytest.raises(UserError, match="4 heads of 5 features have no room"):
        Rotary("thw").check(20, 4)
    with pytest.raises(UserError, match="axes 'tx'"):
        Rotary("tx")
    with pytest.raises(UserError, match="no room"):
        ViT(Tubelets(4, 8), dim=8, depth=1, heads=2, positions=Rotary("thw"))


@torch.no_grad()
def test_values_are_not_turned_and_dropped_tokens_keep_their_places() -> None:
    torch.manual_seed(0)
    encoder = ViT(Tubelets(4, 24, channels=1), dim=24, depth=2, heads=2, positions=Rotary("thw")).eval()
    clip = torch.randn(2, 1, 4, 8, 8)
    keep = torch.tensor([[[0, 3, 5]], [[1, 2, 7]]])
    kept = encoder(clip, keep)
    tokens = encoder.tokenizer(clip)
    x = tokens.select(keep).x[:, 0]
    for block in encoder.blocks:
        attn, h = block.attn, block.norm1(x)
        q, k, v = attn.qkv(h).view(2, 3, 3, 2, 12).permute(2, 0, 3, 1, 4)
        for row in range(2):
            pos = tokens.pos[row, keep[row, 0]]
            for head in range(2):
                q[row, head], k[row, head] = (textbook(t[row, head].detach(), pos, 3, False) for t in (q, k))
        mixed = ((q @ k.transpose(-1, -2)) / 12**0.5).softmax(-1) @ v
        x = x + attn.proj(mixed.transpose(1, 2).reshape(2, 3, 24))
        x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(kept.x[:, 0], encoder.norm(x), rtol=1e-4, atol=1e-5)


def test_predictor_does_not_care_about_the_order_of_tokens() -> None:
    # V-JEPA 2 sorts context and questions by place before its blocks; positions are functions of places, so it need not.
    torch.manual_seed(0)
    predictor = MaskTokenViT(8, 24, 2, 2, positions=Rotary("thw"), mask_std=0.5).eval()
    pos = Grid(2, 3, 3).pos()
    order = torch.randperm(18)
    context = Tokens(torch.randn(1, 1, 6, 8), pos[order[:6]][None, None])
    query = pos[order[6:]][None, None]
    answer = predictor(context, query).x
    mixed = torch.randperm(6)
    again = predictor(Tokens(context.x[:, :, mixed], context.pos[:, :, mixed]), query.flip(2)).x.flip(2)
    torch.testing.assert_close(answer, again, rtol=1e-4, atol=1e-5)


def test_each_mask_asks_with_a_token_of_its_own() -> None:
    torch.manual_seed(0)
    predictor = MaskTokenViT(8, 12, 1, 2, positions=SinCos("thw"), mask_tokens=2, mask_std=0.0).eval()
    assert predictor.mask_token.shape == (2, 1, 12)
    assert not predictor.mask_token.any()
    context = Tokens(torch.randn(2, 1, 3, 8), torch.rand(2, 1, 3, 3))
    query = torch.rand(2, 1, 4, 3)
    assert torch.equal(predictor(context, query, mask=0).x, predictor(context, query, mask=1).x)
    with torch.no_grad():
        predictor.mask_token[1] = torch.randn(12)
    one, other, third = (predictor(context, query, mask=number).x for number in range(3))
    assert torch.equal(one, predictor(context, query).x)
    assert not torch.allclose(one, other)
    assert torch.equal(one, third)
    with pytest.raises(UserError, match="mask_tokens=0"):
        MaskTokenViT(8, 12, 1, 2, mask_tokens=0)


def axis_code(position: int, width: int) -> list[float]:
    half = width // 2
    angles = [position * 10000 ** (-i / half) for i in range(half)]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


@pytest.mark.parametrize("dim", [12, 16, 384, 1024, 1280])
def test_three_axes_share_the_width_as_in_vjepa(dim: int) -> None:
    share = 2 * math.ceil(dim / 6)
    places = [(0, 0, 0), (7, 3, 12), (2, 13, 5)]
    table = [(axis_code(t, share) + axis_code(h, share) + axis_code(w, share))[:dim] for t, h, w in places]
    ours = sincos(torch.tensor(places, dtype=torch.float32), dim, "thw")
    torch.testing.assert_close(ours, torch.tensor(table), rtol=0, atol=2e-6)
