"""Several views of one image: each change by itself, and views as data sets give them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as ops
from PIL import Image
from torch import Tensor

from modalities.image.data import Folder, Patterns
from modalities.image.observations import ArrayObservations
from modalities.image.transforms import random_resized_crop
from modalities.image.views import Look, Looks, kernel, spun, turned
from worldjepa.data.views import Single, Views
from worldjepa.errors import UserError

STILL = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}
"""No change but the crop."""


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(channels: int = 3) -> Tensor:
    smooth = torch.rand(channels, 5, 6, generator=rng()) * 255
    return ops.resize(smooth, [40, 50], antialias=True).to(torch.uint8)


def test_without_a_change_a_view_is_a_random_crop() -> None:
    image = Image.fromarray(pixels().permute(1, 2, 0).numpy())
    expected = random_resized_crop(image, 16, 3, rng(3), (0.2, 0.9))
    assert torch.equal(Look(crop_scale=(0.2, 0.9), **STILL).view(pixels(), 16, rng(3)), expected)


@pytest.mark.parametrize("seed", range(3))
def test_each_change_is_what_it_is_called(seed: int) -> None:
    plain = Look(**STILL).view(pixels(), 24, rng(seed))

    def changed(**chance: float) -> Tensor:
        return Look(**{**STILL, **chance}).view(pixels(), 24, rng(seed))  # type: ignore[arg-type]

    assert torch.equal(changed(flip=1.0), plain.flip(-1))
    assert torch.equal(changed(grey=1.0), ops.rgb_to_grayscale(plain, 3))
    assert torch.equal(changed(solarise=1.0), torch.where(plain >= 128, 255 - plain, plain))
    assert not torch.equal(changed(jitter=1.0), plain)
    assert torch.equal(changed(invert=1.0), 255 - plain)
    still = Look(**{**STILL, "jitter": 1.0}, strength=(0, 0, 0, 0)).view(pixels(), 24, rng(seed))  # type: ignore[arg-type]
    assert int((still.int() - plain.int()).abs().max()) <= 2, "a change of nothing, but for rounding"
    rough = Look(**{**STILL, "blur": 1.0}).view(torch.randint(256, (3, 40, 50), generator=rng(), dtype=torch.uint8), 24, rng(seed))  # fmt: skip  # noqa: E501
    sharp = Look(**STILL).view(torch.randint(256, (3, 40, 50), generator=rng(), dtype=torch.uint8), 24, rng(seed))
    assert float(rough.float().std()) <= float(sharp.float().std())


def test_images_turn_about_their_middle() -> None:
    square = torch.randint(256, (3, 12, 12), generator=rng(), dtype=torch.uint8)
    for quarters in range(-2, 3):
        assert (
            int((turned(square, 90.0 * quarters).int() - torch.rot90(square, quarters, (1, 2)).int()).abs().max()) <= 1
        )
    # The cosines of turns by any angle: a wave along x turned by 30 degrees runs along that direction, whatever the format.
    y, x = (torch.arange(n) - (n - 1) / 2 for n in (80, 160))
    upright = (127 + 100 * torch.sin(x * 0.3)).expand(1, 80, 160).round().to(torch.uint8)
    along = x[None, :] * math.cos(math.pi / 6) - y[:, None] * math.sin(math.pi / 6)
    tilted = turned(upright, 30.0)[0].float()
    inner = (along.abs() < 70) & ((x[None, :] * 0.5 + y[:, None] * 0.87).abs() < 35)
    assert float((tilted - 127 - 100 * torch.sin(along * 0.3))[inner].abs().max()) < 4


def test_colours_turn_about_the_grey_axis() -> None:
    soft = torch.randint(90, 166, (3, 12, 12), generator=rng(), dtype=torch.uint8)  # no colour leaves the cube
    for turns in (-0.4, 0.1, 0.3):
        mean = spun(soft, turns).float().mean(0)
        assert float((mean - soft.float().mean(0)).abs().max()) < 1
    assert int((spun(spun(soft, 0.2), -0.2).int() - soft.int()).abs().max()) <= 2
    third = spun(soft, 1 / 3).int()  # red goes to green, green to blue, blue to red
    assert int((third - soft.roll(1, 0).int()).abs().max()) <= 1
    grey = soft[:1].expand(3, -1, -1)
    assert torch.equal(spun(grey, 0.37), grey)
    views = [Look(**STILL, spin=0.5).view(pixels(), 16, rng(n)) for n in range(4)]
    assert not torch.equal(views[0], views[1])
    assert torch.equal(Look(**STILL, spin=0.5).view(pixels(1), 16, rng(1)), Look(**STILL).view(pixels(1), 16, rng(1)))


def test_turned_views_have_no_black_corners_and_every_angle() -> None:
    flat = torch.full((3, 20, 90), 200, dtype=torch.uint8)
    turning = Look(**STILL, rotate=180.0)
    assert all(bool((turning.view(flat, 16, rng(n)) == 200).all()) for n in range(20))
    halves = torch.zeros(1, 32, 32, dtype=torch.uint8)
    halves[:, :16] = 255  # the upper half is bright
    little = Look(**STILL, rotate=10.0, crop_scale=(1.0, 1.0))
    assert all(float(little.view(halves, 32, rng(n))[0, :12].float().mean()) > 200 for n in range(20))
    upper = [float(Look(**STILL, rotate=180.0).view(halves, 32, rng(n))[0, :4].float().mean()) for n in range(40)]
    assert min(upper) < 40
    assert max(upper) > 215


def test_grey_images_change_in_brightness_and_contrast_alone() -> None:
    view = Look(jitter=1.0, grey=1.0).view(pixels(1), 16, rng(1))
    assert view.shape == (1, 16, 16)
    colours = Look(**{**STILL, "jitter": 1.0}, strength=(0, 0, 1, 0.5))  # type: ignore[arg-type]
    assert torch.equal(colours.view(pixels(1), 16, rng(1)), Look(**STILL).view(pixels(1), 16, rng(1)))


def test_changes_happen_as_often_as_they_are_said_to() -> None:
    plain, flipped = Look(**STILL), Look(**{**STILL, "flip": 0.3})
    apart = [not torch.equal(plain.view(pixels(), 8, rng(n)), flipped.view(pixels(), 8, rng(n))) for n in range(300)]
    assert 0.2 < sum(apart) / 300 < 0.4


def test_looks_come_one_after_another() -> None:
    looks = Looks([Look(count=2, **STILL), Look(**{**STILL, "grey": 1.0})])
    views = looks.views(pixels(), 12, rng())
    assert looks.count == 3
    assert views.shape == (3, 3, 12, 12)
    greyed = [bool((view == view[:1]).all()) for view in views]
    assert greyed == [False, False, True]
    assert not torch.equal(views[0], views[1])
    assert torch.equal(views, looks.views(pixels(), 12, rng()))


def test_blurs_are_a_tenth_of_the_side() -> None:
    assert [kernel(size) for size in (16, 32, 64, 96, 224)] == [3, 3, 7, 9, 23]


def test_data_show_several_views_in_training_and_one_plain_one(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels().permute(1, 2, 0).numpy()).save(buffer, "JPEG")
    for name in "abcdefgh":
        (tmp_path / f"{name}.jpg").write_bytes(buffer.getvalue())
    looks = Looks([Look(count=2)])
    files = Folder(str(tmp_path), size=16, holdout=0.0, views=looks).train()
    array = ArrayObservations(np.stack([pixels()[:, :40, :40].numpy()] * 2), looks=looks)
    for observations, side in ((files, 16), (array, 40)):
        assert observations.views == 2
        assert not observations.in_memory
        assert observations.observe(0).shape == observations.shape == (3, side, side)  # type: ignore[union-attr]
        views = observations.observe(0, rng())
        assert isinstance(views, Tensor)
        assert views.shape == (2, 3, side, side)
        assert views.dtype == torch.uint8
    assert Folder(str(tmp_path), size=16, views=Single()).train().views == 1


def test_probes_see_plain_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modalities.image import embedded

    monkeypatch.setattr(embedded, "PROBE_SIZES", {"train": 24, "val": 12, "test": 12})
    source = Patterns(size=16, count=8, cache=str(tmp_path), views=Looks([Look(count=2)]))
    assert source.train().views == 2
    assert [split.views for split in source.probe()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"count": 0}, "count must be at least 1: 0"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale must be two fractions"),
        ({"grey": 1.5}, r"grey is a chance, from 0 to 1: 1\.5"),
        ({"spin": 0.7}, r"spin must be turns from 0 to 0\.5: 0\.7"),
        ({"rotate": 200.0}, r"rotate is an angle in degrees, from 0 to 180: 200\.0"),
        ({"strength": (0.4, 0.4, 0.2)}, "strength must be four numbers"),
        ({"strength": (0.4, 0.4, 0.2, 0.6)}, r"for hue from 0 to 0\.5"),
    ],
)
def test_what_no_view_can_be_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Look(**wrong)  # type: ignore[arg-type]


def test_views_of_something_else_are_refused(tmp_path: Path) -> None:
    class Loops(Views):
        count = 2

    with pytest.raises(UserError, match="Loops makes no views of images"):
        Patterns(size=16, count=4, cache=str(tmp_path), views=Loops())
    with pytest.raises(UserError, match="views=none"):
        Looks([])
