"""The fast decoder of plain JPEGs gives PIL's pixels, and PIL has the last word."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.media import BAD, ODD, encoded, picture
from PIL import Image

from modalities.image.decode import decode_jpeg, to_channels
from modalities.image.transforms import random_resized_crop, resize, sample_crop, to_tensor
from worldjepa.data.pictures import read_image
from worldjepa.errors import Unreadable


def scene(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[:90, :130]
    values = np.stack([x * 2, y * 2, (x * y) % 256], -1) + np.random.default_rng(0).integers(0, 30, (90, 130, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("L", 3)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_the_same_pixels(mode: str, channels: int, options: dict[str, object]) -> None:
    data = encoded(scene(mode), "JPEG", quality=90, **options)
    fast = decode_jpeg(Image.open(io.BytesIO(data)), channels)
    assert fast is not None
    assert torch.equal(fast, to_tensor(to_channels(Image.open(io.BytesIO(data)), channels)))


def test_what_is_not_plain_is_left_to_pil() -> None:
    for kind, channels in (("cmyk.jpg", 3), ("rgb.jpg", 1), ("rgb.png", 3), ("frames.gif", 3)):
        assert decode_jpeg(Image.open(io.BytesIO(ODD[kind](0))), channels) is None, kind
    loaded = Image.open(io.BytesIO(ODD["rgb.jpg"](0)))
    loaded.load()
    assert decode_jpeg(loaded, 3) is None


def view(path: Path, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return read_image(str(path), lambda image: random_resized_crop(image, 32, 3, rng))


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind.endswith(".jpg")])
def test_damaged_jpegs_are_unreadable_in_training_too(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(BAD[kind](0))
    with pytest.raises(Unreadable, match=kind):
        view(tmp_path / kind)


def test_pil_would_have_read_whatever_is_read(tmp_path: Path) -> None:
    chance, read, alike = random.Random(3), 0, 0
    sound = [encoded(picture("RGB", 40), "JPEG"), encoded(picture("RGB", 40), "JPEG", progressive=True)]
    for case in range(300):
        data = bytearray(sound[case % 2])
        if case % 3:
            data[chance.randrange(len(data))] = chance.randrange(256)
        else:
            data = data[: chance.randrange(len(data))]
        try:
            image = Image.open(io.BytesIO(data))
            fast = decode_jpeg(image, 3)
        except (OSError, SyntaxError):
            continue
        if fast is None:
            continue
        slow = to_tensor(to_channels(Image.open(io.BytesIO(data)), 3))  # does not raise
        assert fast.shape == slow.shape
        read += 1
        alike += torch.equal(fast, slow)
    assert read > 50
    assert alike > 0.9 * read  # two versions of one library may fill up differently what is damaged


def test_crops_are_those_of_pil_up_to_rounding(tmp_path: Path) -> None:
    scene().save(tmp_path / "a.jpg", quality=95)
    for seed in range(5):
        box = sample_crop(130, 90, torch.Generator().manual_seed(seed))
        with Image.open(tmp_path / "a.jpg") as image:
            cut = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
            exact = to_tensor(cut.resize((32, 32), Image.Resampling.BILINEAR)).double()
        # Crops of at least twice the output are decoded small, which a few grey levels tell.
        error = float((view(tmp_path / "a.jpg", seed).double() - exact).square().mean())
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > (30 if min(box.width, box.height) >= 64 else 60)
    assert torch.equal(view(tmp_path / "a.jpg", 7), view(tmp_path / "a.jpg", 7))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 24, 61])
def test_resizing_is_pils_up_to_one_grey_level(channels: int, side: int) -> None:
    image = scene("L" if channels == 1 else "RGB")
    expected = to_tensor(image.resize((side, side), Image.Resampling.BILINEAR)).int()
    assert (resize(to_tensor(image), side).int() - expected).abs().max() <= 1
