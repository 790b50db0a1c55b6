import io
import math
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from modalities.image.decode import to_channels
from modalities.image.transforms import centre_view, random_resized_crop, to_tensor
from worldjepa.data.crops import sample_crop
from worldjepa.data.pictures import read_image
from worldjepa.errors import UserError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(width=50, height=40, mode="RGB", seed=0):
    channels = {"RGB": 3, "L": 1, "RGBA": 4, "CMYK": 4, "LA": 2}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels, mode=None if channels != 4 else mode)


def smooth(width, height):
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("extent", [(500, 375), (100, 400)])
def test_crops_are_distributed_like_torchvisions(extent):
    width, height = extent
    ours = np.array([sample_crop(width, height, rng) for rng in [generator()] for _ in range(4000)], float)
    torch.manual_seed(0)
    reference = v2.RandomResizedCrop(224, scale=(0.3, 1.0), antialias=True)
    image = torch.empty(3, height, width)
    theirs = [reference.make_params([image]) for _ in range(4000)]
    theirs = np.array([[crop[key] for key in ("left", "top", "width", "height")] for crop in theirs], float)
    for column, limit in enumerate((width, height, width, height)):
        assert abs(ours[:, column].mean() - theirs[:, column].mean()) < 0.02 * limit
        assert abs(ours[:, column].std() - theirs[:, column].std()) < 0.02 * limit


def test_crops_lie_inside_and_keep_scale_and_ratio():
    rng = generator()
    for _ in range(500):
        left, top, width, height = sample_crop(97, 64, rng, scale=(0.3, 0.6))
        assert left >= 0
        assert top >= 0
        assert left + width <= 97
        assert top + height <= 64
        assert 0.28 < width * height / (97 * 64) < 0.62
        assert 0.72 < width / height < 1.37


@pytest.mark.parametrize(("extent", "expected"), [((1000, 3), (4, 3)), ((3, 1000), (3, 4)), ((1, 1), (1, 1))])
def test_extreme_images_get_the_centred_crop(extent, expected):
    box = sample_crop(*extent, generator(), scale=(1.0, 1.0))
    assert (box.width, box.height) == expected
    assert abs(2 * box.left + box.width - extent[0]) <= 1


def test_the_generator_decides_everything():
    image = picture()
    torch.manual_seed(1)
    first = random_resized_crop(image, 16, 3, generator(5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, random_resized_crop(image, 16, 3, generator(5)))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, random_resized_crop(image, 16, 3, generator(6)))
    assert first.dtype == torch.uint8
    assert first.shape == (3, 16, 16)


def test_training_crop_is_the_resized_crop_of_torchvision():
    image = smooth(80, 60)
    box = sample_crop(80, 60, generator(3))
    ours = random_resized_crop(image, 24, 3, generator(3)).float()
    theirs = v2.functional.resized_crop(image, box.top, box.left, box.height, box.width, [24, 24])
    assert (ours - to_tensor(theirs).float()).abs().max() <= 3  # the edges may see beyond the crop


@pytest.mark.parametrize("extent", [(100, 75), (60, 90), (33, 33), (20, 64)])
def test_evaluation_view_is_that_of_torchvision(extent):
    image = picture(*extent)
    reference = v2.Compose([v2.Resize(round(28 * 256 / 224)), v2.CenterCrop(28)])
    assert torch.equal(centre_view(image, 28, 3), to_tensor(reference(image)))


def test_large_jpegs_are_decoded_small(tmp_path):
    smooth(803, 601).save(tmp_path / "a.jpg", quality=95)
    seen = []

    def use(image):
        view = random_resized_crop(image, 64, 3, generator(1))
        seen.append(image.size)
        return view

    fast = read_image(str(tmp_path / "a.jpg"), use)
    assert seen[0][0] <= math.ceil(803 / 4)
    with Image.open(tmp_path / "a.jpg") as image:
        image.load()
        slow = random_resized_crop(image, 64, 3, generator(1))
    assert (fast.float() - slow.float()).abs().max() < 8
    with Image.open(tmp_path / "a.jpg") as image:
        random_resized_crop(image, 400, 3, generator(1))
        assert image.size == (803, 601)


def sixteen(values):
    return Image.fromarray(np.array(values, np.uint16))


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "LA", "L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_convert(mode, channels):
    image = to_channels(picture(mode=mode), channels)
    assert to_tensor(image).shape == (channels, 40, 50)


def test_transparency_is_dropped_and_cmyk_is_inverted():
    red = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert to_tensor(to_channels(red, 3))[:, 0, 0].tolist() == [255, 0, 0]
    assert to_tensor(to_channels(Image.new("CMYK", (2, 2), (0, 0, 0, 0)), 3)).min() == 255


def test_palette_with_transparency_and_one_bit(tmp_path):
    palette = picture().quantize(8)
    palette.info["transparency"] = bytes(range(8))
    assert to_tensor(to_channels(palette, 3)).shape[0] == 3
    assert to_tensor(to_channels(palette, 1)).shape[0] == 1
    bits = Image.fromarray(np.eye(4, dtype=np.uint8) * 255).convert("1")
    assert sorted(to_tensor(to_channels(bits, 1)).unique().tolist()) == [0, 255]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    sixteen([[0, 257 * 100], [257 * 200, 65535]]).save(tmp_path / f"a.{suffix}")
    view = read_image(str(tmp_path / f"a.{suffix}"), lambda image: to_tensor(to_channels(image, 3)))
    assert view[0].tolist() == [[0, 100], [200, 255]]
    assert torch.equal(view[0], view[2])


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.tiff.*no known range"):
        read_image(str(tmp_path / "a.tiff"), lambda image: to_tensor(to_channels(image, 1)))


@pytest.mark.parametrize("damage", ["text", "empty", "cut"])
def test_damaged_files_are_named(tmp_path, damage):
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    content = {"text": b"no image", "empty": b"", "cut": buffer.getvalue()[:200]}[damage]
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.png: (is empty|cannot be decoded)"):
        read_image(str(tmp_path / "bad.png"), lambda image: centre_view(image, 8, 3))


def huge_png(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_decompression_bombs_are_refused_and_large_images_are_not(tmp_path, monkeypatch):
    huge_png(tmp_path / "bomb.png", 20_000, 10_000)
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_image(str(tmp_path / "bomb.png"), to_tensor)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UserError, match="178,956,970"):
        read_image(str(tmp_path / "bomb.png"), to_tensor)
    monkeypatch.undo()
    huge_png(tmp_path / "large.png", 10_000, 10_000)  # where PIL warns
    size = []
    read_image(str(tmp_path / "large.png"), lambda image: size.append(image.size) or torch.zeros(1))
    assert size == [(10_000, 10_000)]


def test_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(20, 10).save(tmp_path / "a.jpg", exif=exif)
    shape = read_image(str(tmp_path / "a.jpg"), lambda image: to_tensor(to_channels(image, 3))).shape
    assert shape == (3, 10, 20)
