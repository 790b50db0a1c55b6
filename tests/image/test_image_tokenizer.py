import pytest
import torch

from modalities.image.tokenizer import STATISTICS, Patches
from worldjepa.errors import UserError
from worldjepa.types import Grid


def test_tokens_are_row_major_and_carry_their_positions():
    tokenizer = Patches(patch=4, dim=6)
    images = torch.randint(256, (2, 3, 8, 12), dtype=torch.uint8)
    tokens = tokenizer(images)
    assert tokens.x.shape == (2, 6, 6)
    assert tokens.pos.shape == (2, 6, 3)
    assert tokenizer.grid((3, 8, 12)) == Grid(1, 2, 3)
    assert tokens.pos[0].tolist() == Grid(1, 2, 3).pos().tolist()
    last = tokenizer(images[:, :, 4:, 8:])  # the patch in row 1, column 2
    torch.testing.assert_close(tokens.x[:, 5:], last.x)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_normalised_and_floats_are_not(channels):
    tokenizer = Patches(patch=4, dim=5, channels=channels)
    images = torch.randint(256, (2, channels, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in STATISTICS[channels])
    torch.testing.assert_close(tokenizer(images).x, tokenizer((images / 255 - mean) / std).x)


def test_state_holds_the_projection_alone():
    assert list(Patches(2, 4).state_dict()) == ["proj.weight", "proj.bias"]
    assert Patches(2, 4).mean.dtype == torch.float32


def test_own_statistics_and_channels():
    tokenizer = Patches(2, 4, channels=2, mean=[0.5, 0.5], std=[0.25, 0.5])
    assert tokenizer(torch.zeros(1, 2, 4, 4, dtype=torch.uint8)).x.shape == (1, 4, 4)
    for settings in ({"channels": 2}, {"mean": [0.5]}, {"std": [0.0, 1.0, 1.0]}, {"dim": 0}):
        with pytest.raises(UserError):
            Patches(**{"patch": 2, "dim": 4, **settings})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 30, 28), ["height 30", "patches of 14", "28 and 42"]),
        ((3, 28, 225), ["width 225", "224 and 238"]),
        ((3, 28, 5), ["width 5", "that fits is 14"]),
        ((1, 28, 28), ["1 channel", "built for 3"]),
        ((28, 28), ["(channels, height, width)", "(28, 28)"]),
    ],
)
def test_shapes_that_do_not_fit_are_explained(shape, words):
    with pytest.raises(UserError) as caught:
        Patches(14, 4).grid(shape)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_other_integers_are_refused():
    with pytest.raises(UserError, match="uint8 or floating-point"):
        Patches(2, 4)(torch.zeros(1, 3, 4, 4, dtype=torch.int64))


def test_low_precision_weights_take_bytes():
    tokens = Patches(2, 4).to(torch.bfloat16)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert tokens.x.dtype == torch.bfloat16
