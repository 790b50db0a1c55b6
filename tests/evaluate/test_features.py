"""Layers and features: the last layer is the plain answer, the others are what a loop over the blocks gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modalities.image.tokenizer import Patches
from modalities.trajectory.encoders import PerFrame
from worldjepa.encoders import TimmViT, ViT
from worldjepa.errors import UserError
from worldjepa.evaluate.features import EVERY, LAST, LAST_FOUR, TOKENS, Features, layer, side_by_side
from worldjepa.interfaces import Encoder

OBS = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def vit(depth: int = 5) -> ViT:
    torch.manual_seed(0)
    return ViT(Patches(4, 16, channels=3), dim=16, depth=depth, heads=2)


def timm() -> TimmViT:
    torch.manual_seed(0)
    return TimmViT("vit_tiny_patch16_224", image_size=16)


@pytest.mark.parametrize("make", [vit, timm])
@torch.no_grad()
def test_the_last_layer_is_the_plain_answer_bit_by_bit(make: Any) -> None:
    encoder = make()
    plain = encoder(OBS)
    layers = encoder.layers(OBS)
    assert torch.equal(layers[-1].x, plain.x)
    assert torch.equal(layers[-1].pos, plain.pos)
    assert len(layers) == len(encoder.stages()) - 2
    assert not torch.allclose(layers[0].x, plain.x)


@torch.no_grad()
def test_layers_are_those_of_a_loop_over_the_blocks() -> None:
    encoder = vit()
    tokens = encoder.tokenizer(OBS)
    x, expected = encoder.positions.added(tokens), []
    for block in encoder.blocks:
        x = block(x)
        expected.append(encoder.norm(x))
    for ours, theirs in zip(encoder.layers(OBS), expected, strict=True):
        torch.testing.assert_close(ours.x, theirs, rtol=0, atol=1e-6)
    picked = encoder.layers(OBS, [3, -5, 3])
    assert all(torch.equal(one.x, encoder.layers(OBS)[i].x) for one, i in zip(picked, (3, 0, 3), strict=True))


@torch.no_grad()
def test_one_pass_gives_all_layers() -> None:
    encoder, calls = vit(), [0]
    encoder.blocks[0].register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    EVERY.of(encoder, OBS)
    assert calls == [1]


@torch.no_grad()
def test_features() -> None:
    encoder = vit()
    each = [one.x for one in encoder.layers(OBS)]
    torch.testing.assert_close(LAST.of(encoder, OBS)[:, 0, 0], encoder(OBS).x.mean(1))
    last_four = side_by_side(LAST_FOUR.of(encoder, OBS))
    torch.testing.assert_close(last_four, torch.cat([x.mean(1) for x in each[-4:]], 1))
    every = EVERY.of(encoder, OBS)
    assert every.shape == (3, 5, 1, 16)
    torch.testing.assert_close(layer(every, 2), each[2].mean(1))
    tokens = TOKENS.of(encoder, OBS)
    assert torch.equal(tokens[:, 0], each[-1])
    torch.testing.assert_close(side_by_side(tokens), each[-1].mean(1))


@torch.no_grad()
def test_frames_have_the_layers_of_their_encoder() -> None:
    encoder = PerFrame(vit(), normalise=True)
    clip = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layers = encoder.layers(clip, [1, -1])
    assert torch.equal(layers[-1].x, encoder(clip).x)
    inner = encoder.encoder.layers(clip.flatten(0, 1), [1])[0].x
    torch.testing.assert_close(layers[0].x, torch.nn.functional.layer_norm(inner, (16,)).reshape(2, 12, 16))


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no layer -4: this encoder has 3"):
        LAST_FOUR.of(vit(3), OBS)
    with pytest.raises(UserError, match=r"pooling 'max' is not known.*allowed: mean, tokens"):
        Features(pooling="max").of(vit(), OBS)


@pytest.mark.parametrize("make", [vit, timm])
def test_stages_go_from_what_embeds_to_the_norm(make: Any) -> None:
    encoder: Encoder = make()
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    stages = [[names[id(parameter)] for parameter in stage] for stage in encoder.stages()]
    assert any("proj.weight" in name for name in stages[0])
    for i, stage in enumerate(stages[1:-1]):
        assert all(f"blocks.{i}." in name for name in stage)
    assert [name.rpartition(".")[2] for name in stages[-1]] == ["weight", "bias"]
