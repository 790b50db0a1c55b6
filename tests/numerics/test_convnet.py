"""The convolutional encoder against a restatement in plain convolutions, with and without holes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.image.tokenizer import Patches
from worldjepa.convolutions import ConvNet, ResidualBlock, SetNorm
from worldjepa.errors import UserError
from worldjepa.types import Tokens


def made(depth: tuple[int, ...] = (1, 2), dim: int = 16) -> ConvNet:
    torch.manual_seed(0)
    encoder = ConvNet(Patches(2, dim), dim, depth)
    for parameter in encoder.parameters():  # biases too, which would fill holes
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


def plain(encoder: ConvNet, obs: Tensor, seen: Tensor) -> Tensor:
    """The same in two dimensions, channels first; `seen` `[B, 1, h, w]` on the last lattice."""

    def normed(x: Tensor, norm: SetNorm) -> Tensor:
        there = F.interpolate(seen, size=x.shape[2:])[:, 0].bool()
        rows = []
        for one, places in zip(x, there, strict=True):
            groups = one.split(len(one) // 8)
            together = [group[:, places] for group in groups]
            scaled = torch.cat(
                [
                    (group - some.mean()) / (some.var(correction=0) + 1e-6).sqrt()
                    for group, some in zip(groups, together, strict=True)
                ]
            )
            rows.append(scaled * norm.weight[:, None, None] + norm.bias[:, None, None])
        return torch.stack(rows)

    def convolved(x: Tensor, layer: torch.nn.Conv3d, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, layer.weight[:, :, 0], layer.bias, stride, padding)

    tokens = encoder.tokenizer(obs).x
    side = int(tokens.shape[1] ** 0.5)
    x = tokens.transpose(1, 2).unflatten(2, (side, side))
    for block in encoder.blocks:
        assert isinstance(block, ResidualBlock)
        stride = block.conv1.stride[1]
        h = F.gelu(normed(x, block.norm1)) * F.interpolate(seen, size=x.shape[2:])
        h = convolved(h, block.conv1, stride, 1)
        h = convolved(F.gelu(normed(h, block.norm2)) * F.interpolate(seen, size=h.shape[2:]), block.conv2, 1, 1)
        x = h + (convolved(x, block.past, 2, 0) if isinstance(block.past, torch.nn.Conv3d) else x)
    return encoder.norm(x.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("depth", [(1,), (1, 2), (0, 1, 1)])
def test_it_is_what_is_written_down(depth: tuple[int, ...]) -> None:
    encoder, obs = made(depth), torch.randn(3, 3, 16, 16)
    side = 8 // 2 ** (len(depth) - 1)
    everything = torch.ones(3, 1, side, side)
    torch.testing.assert_close(encoder(obs).x, plain(encoder, obs, everything))
    keep = torch.stack([torch.randperm(side**2)[: side**2 // 2] for _ in range(6)]).view(3, 2, -1)
    kept = encoder(obs, keep).x
    for number in range(2):
        seen = torch.zeros(3, side**2).scatter(1, keep[:, number], 1.0).view(3, 1, side, side)
        expected = plain(encoder, obs, seen).gather(1, keep[:, number, :, None].expand(-1, -1, encoder.dim))
        torch.testing.assert_close(kept[:, number], expected)


def test_to_see_all_tokens_is_to_see_everything() -> None:
    encoder, obs = made(), torch.randn(2, 3, 16, 16)
    keep = torch.arange(encoder.grid((3, 16, 16)).size).expand(2, 1, -1)
    assert torch.equal(encoder(obs, keep).x[:, 0], encoder(obs).x)
    backwards = torch.stack([keep[:, 0], keep[:, 0].flip(-1)], 1)
    assert torch.equal(encoder(obs, backwards).x[:, 1], encoder(obs).x.flip(1))


def test_each_lattice_has_a_layer_that_makes_it() -> None:
    assert len(made((0, 3)).blocks) == 3
    assert len(made((2, 0, 1)).blocks) == 4, "a lattice in between is passed in one block at least"
    assert made((0, 0, 2)).grid((3, 16, 16)) == (1, 2, 2)
    assert made((0, 0, 2)).dim == 4 * 16
    stages = made().stages()
    assert len(stages) == 1 + 3 + 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ConvNet(Patches(2, 8), 8, ()), r"depth=\[\]"),
        (lambda: ConvNet(Patches(2, 8), 8, (1, 0)), r"the last of arch\.encoder\.depth must be at least 1"),
        (lambda: ConvNet(Patches(2, 8), 12), "tokens of width 8, the encoder expects 12"),
        (lambda: ConvNet(Patches(2, 8), 8, axes="x"), "axes"),
        (lambda: made((1, 1)).grid((3, 6, 8)), r"a lattice of \(1, 3, 4\) cannot be halved 1 times along wh"),
        (lambda: made()(Tokens(torch.zeros(1, 4, 8), torch.zeros(1, 4, 3))), "takes observations, not tokens"),
    ],
)
def test_what_cannot_be_is_refused(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(UserError, match=told):
        make()
