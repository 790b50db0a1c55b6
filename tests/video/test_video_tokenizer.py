"""Clips into tokens."""

from __future__ import annotations

import pytest
import torch

from modalities.video.tokenizer import Tubelets
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.nn.positions import SinCos
from worldjepa.types import Grid


@pytest.mark.parametrize(("frames", "patch", "shape"), [(2, 4, (4, 8, 12)), (1, 4, (3, 4, 4)), (4, 8, (8, 16, 8))])
def test_tokens_are_the_tubelets_row_by_row(frames: int, patch: int, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    tokenizer = Tubelets(patch, 5, frames=frames, mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.2])
    clips = torch.randint(256, (2, 3, *shape), dtype=torch.uint8)
    tokens = tokenizer(clips)
    grid = Grid(shape[0] // frames, shape[1] // patch, shape[2] // patch)
    assert tokenizer.grid((3, *shape)) == grid
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    number = 0
    for t in range(grid.t):
        for row in range(grid.h):
            for column in range(grid.w):
                where = (
                    slice(t * frames, (t + 1) * frames),
                    slice(row * patch, (row + 1) * patch),
                    slice(column * patch, (column + 1) * patch),
                )
                tubelet = (clips[(slice(None), slice(None), *where)] / 255 - mean.view(3, 1, 1, 1)) / std.view(
                    3, 1, 1, 1
                )
                expected = tubelet.flatten(1) @ tokenizer.proj.weight.flatten(1).T + tokenizer.proj.bias
                torch.testing.assert_close(tokens.x[:, number], expected, rtol=1e-4, atol=1e-5)
                assert tokens.pos[1, number].tolist() == [t, row, column]
                number += 1
    assert number == tokens.x.shape[1]


def test_an_image_is_a_clip_of_one_frame_shown_for_a_tubelet() -> None:
    torch.manual_seed(0)
    tokenizer = Tubelets(4, 6, frames=2)
    image = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    still = image[:, :, None]
    expected = tokenizer(still.expand(-1, -1, 2, -1, -1)).x
    assert torch.equal(tokenizer(image).x, expected)
    assert torch.equal(tokenizer(still).x, expected)
    assert tokenizer.grid((3, 8, 8)) == tokenizer.grid((3, 1, 8, 8)) == Grid(1, 2, 2)


def test_one_encoder_learns_from_images_and_clips() -> None:
    torch.manual_seed(0)
    encoder = ViT(Tubelets(4, 12), 12, 1, 2, positions=SinCos("thw"))
    encoder(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).x.sum().backward()
    encoder(torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8)).x.sum().backward()
    assert encoder.tokenizer.proj.weight.grad is not None


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 3, 8, 8), "number of frames 3 cannot be cut into tubelets of 2: the nearest that fit are 2 and 4"),
        ((3, 4, 8, 9), "width 9 cannot be cut into patches of 4: the nearest that fit are 8 and 12"),
        ((3, 4, 2, 8), "height 2 is less than 4"),
        ((1, 4, 8, 8), r"1 channel\(s\)"),
        ((4, 8), "a clip has the shape"),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Tubelets(4, 6).grid(shape)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch": 0, "dim": 4}, "patch=0"),
        ({"patch": 4, "dim": 4, "frames": 0}, "frames=0"),
        ({"patch": 4, "dim": 4, "channels": 2}, "no default for 2 channels"),
        ({"patch": 4, "dim": 4, "mean": [0.5]}, "one number per channel"),
        ({"patch": 4, "dim": 4, "std": [1.0, 0.0, 1.0]}, "std must be positive"),
    ],
)
def test_settings_out_of_range(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Tubelets(**settings)


def test_other_integers_are_refused() -> None:
    with pytest.raises(UserError, match="uint8 or floating-point"):
        Tubelets(4, 6)(torch.zeros(1, 3, 2, 4, 4, dtype=torch.int32))
