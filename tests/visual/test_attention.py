"""Attention maps are the weights that the forward pass used."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from modalities.image.depiction import Images
from modalities.image.tokenizer import Patches
from modalities.trajectory.depiction import Episode
from modalities.trajectory.encoders import PerFrame
from modalities.video.tokenizer import Tubelets
from visual.known import Known
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.nn.blocks import Attention
from worldjepa.nn.positions import SinCos
from worldjepa.nn.rotary import Rotary
from worldjepa.types import Grid
from worldjepa.visual.attention import attention_maps, attention_picture, from_token, token_at


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(("queries", "masked"), [(None, False), (3, False), (None, True), (3, True)])
def test_weights_are_a_literal_softmax_and_make_the_output(rotary: bool, queries: int | None, masked: bool) -> None:
    torch.manual_seed(0)
    attention = Attention(24, 2)
    x, pos = drawn(2, 7, 24), Grid(1, 1, 7).pos().expand(2, -1, -1)
    rotation = Rotary("w").rotation(pos, 12) if rotary else None
    looks = torch.ones(7, 7, dtype=torch.bool).tril() if masked else None
    weights = attention.weights(x, queries, rotation, looks)
    q, k, v = attention.qkv(x).view(2, 7, 3, 2, 12).permute(2, 0, 3, 1, 4)
    asked = queries or 7
    for b in range(2):
        for head in range(2):
            for row in range(asked):
                place = 7 - asked + row
                scores = []
                for other in range(7):
                    one, two = q[b, head, place].double(), k[b, head, other].double()
                    if rotary:  # a pair (a, b) at p is the complex number a + ib turned by p w
                        angle = torch.polar(torch.ones(6).double(), 10000.0 ** (-torch.arange(6.0).double() / 6))
                        one, two = (
                            torch.view_as_real(torch.view_as_complex(part.view(6, 2)) * angle**at).flatten()
                            for part, at in ((one, place), (two, other))
                        )
                    score = float(one @ two) / math.sqrt(12)
                    scores.append(score if looks is None or looks[place, other] else -math.inf)
                expected = torch.tensor([math.exp(score - max(scores)) for score in scores])
                assert torch.allclose(weights[b, head, row], expected / expected.sum(), atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2, asked), atol=1e-6)
    out = attention.proj((weights @ v).transpose(1, 2).reshape(2, asked, 24))
    assert torch.allclose(out, attention(x, queries, rotation, looks), atol=1e-6)


@pytest.mark.parametrize("positions", [SinCos("thw"), Rotary("thw")])
@torch.no_grad()
def test_maps_of_an_encoder_are_what_sdpa_uses(positions, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    encoder = ViT(Tubelets(4, 48, 2, 1), 48, 3, 4, positions=positions)
    obs = torch.randint(0, 256, (2, 1, 4, 8, 12), dtype=torch.uint8)
    before = encoder(obs).x
    kept = []

    def watching(q, k, v, looks=None):  # type: ignore[no-untyped-def]
        kept.append((q, k, v))
        return F.scaled_dot_product_attention(q, k, v)

    with monkeypatch.context() as patch:
        patch.setattr("worldjepa.nn.blocks.attend", watching)
        maps = attention_maps(encoder, obs, 1)
    q, k, v = kept[1]
    # With the identity for values, the kernel's output is its weights.
    identity = torch.eye(12).expand(2, 4, -1, -1)
    assert torch.allclose(maps, F.scaled_dot_product_attention(q, k, identity), atol=1e-6)
    assert torch.equal(before, encoder(obs).x)
    assert not any(module._forward_pre_hooks for module in encoder.modules())


def test_frames_that_do_not_see_one_another() -> None:
    torch.manual_seed(0)
    encoder = PerFrame(ViT(Patches(4, 24, 3), 24, 1, 2))
    obs = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    grid = encoder.grid(obs.shape[1:])
    every = attention_maps(encoder, obs)
    token = token_at(grid, (1, 0, 1))
    maps = from_token(every, grid, token)
    assert maps.shape == (2, 2, 12)
    assert torch.equal(maps[1, :, 4:8], attention_maps(encoder.encoder, obs[1, 1:2])[0, :, 1])
    assert maps[:, :, [*range(4), *range(8, 12)]].isnan().all()
    shown = attention_picture(encoder, obs, Episode(), token=(1, 0, 1))
    assert shown.numbers["largest_error_of_a_row_sum"] < 1e-5


def test_the_numbers_of_a_picture() -> None:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 24, 3), 24, 2, 2)
    for block in encoder.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)  # everybody looks at everything alike
    obs = torch.randint(0, 256, (2, 3, 12, 16), dtype=torch.uint8)
    shown = attention_picture(encoder, obs, Images(), layer=0, heads=[1], token=(0, 0, 0))
    distances = Grid(1, 3, 4).pos().norm(dim=-1).mean()
    assert shown.numbers["effective_tokens"] == pytest.approx([12, 12])
    assert shown.numbers["distance"] == pytest.approx([float(distances)] * 2, rel=1e-5)
    assert shown.numbers["own_share"] == pytest.approx([1 / 12] * 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"layer": 5}, "there is no layer 5: this encoder has 2"),
        ({"heads": [0, 2]}, "there is no head 2: this layer has 2"),
        ({"token": (0, 3, 0)}, "token=0,3,0 is not on the lattice of 1 x 3 x 4"),
        ({"token": (3,)}, "token=3 is not on the lattice"),
    ],
)
def test_mistakes(words: dict[str, object], message: str) -> None:
    encoder = ViT(Patches(4, 24, 3), 24, 2, 2)
    with pytest.raises(UserError, match=message):
        attention_picture(encoder, torch.zeros(1, 3, 12, 16), Images(), **words)  # type: ignore[arg-type]


def test_an_encoder_without_attention() -> None:
    with pytest.raises(UserError, match="Known has no attention to show"):
        attention_maps(Known(4), torch.zeros(1, 3, 8, 8))
