"""From a decoded picture to the uint8 tensor that a network sees: the training crop and the evaluation view.

Randomness comes from the generator that is passed in and from nowhere else. Both views resize with PIL's antialiased
bilinear filter.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from modalities.image.decode import decode_jpeg, to_channels
from worldjepa.data.crops import Box, sample_crop


def random_resized_crop(
    image: Image.Image,
    size: int,
    channels: int,
    rng: torch.Generator,
    scale: tuple[float, float] = (0.3, 1.0),
) -> UInt8[Tensor, "C size size"]:
    """The training view of I-JEPA, official configurations: a random crop made square; no flip, no colour jitter.

    A JPEG that has not been loaded yet is decoded at a half, a quarter or an eighth of its size where the crop stays at
    least as large as the output; next to the crop's edges the filter may then read the pixels just outside the crop.
    """
    box = sample_crop(*image.size, rng, scale)
    small = _decode_small(image, box, size)
    if small is not None:
        return to_tensor(to_channels(image, channels).resize((size, size), Image.Resampling.BILINEAR, box=small))
    pixels = decode_jpeg(image, channels)
    if pixels is None:
        whole = to_channels(image, channels)
        corner = (box.left, box.top, box.left + box.width, box.top + box.height)
        return resize(to_tensor(whole.crop(corner)), size)
    return resize(pixels[:, box.top : box.top + box.height, box.left : box.left + box.width], size)


def resize(pixels: UInt8[Tensor, "C H W"], size: int) -> UInt8[Tensor, "C size size"]:
    """Make a square of it, with PIL's antialiased bilinear filter as PyTorch has it, at a third of the time."""
    made: Tensor = F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)
    return made[0].contiguous()


def centre_view(image: Image.Image, size: int, channels: int) -> UInt8[Tensor, "C size size"]:
    """The evaluation view: short side resized to 256/224 of `size`, then the central square.

    Always decoded at full size: published numbers are compared with it.
    """
    image = to_channels(image, channels)
    whole, corners = centre(*image.size, size)
    return to_tensor(image.resize(whole, Image.Resampling.BILINEAR).crop(corners))


def centre(width: int, height: int, size: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The size to which the evaluation view resizes a picture, and the corners of the square that it takes of it then."""
    short = round(size * 256 / 224)
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - size) / 2), round((height - size) / 2)
    return (width, height), (left, top, left + size, top + size)


def to_tensor(image: Image.Image) -> UInt8[Tensor, "C H W"]:
    """The pixels of a grey or RGB picture."""
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _decode_small(image: Image.Image, box: Box, size: int) -> tuple[float, float, float, float] | None:
    """Let a JPEG decode at a reduced size if the crop is at least twice the output; return the crop's corners in it."""
    shrink = min(box.width, box.height) / size
    step = next((power for power in (8, 4, 2) if power <= shrink), 1)
    if step == 1:
        return None
    # draft() takes the largest power of two that leaves this size; formats other than JPEG ignore it.
    full = image.width
    drafted = image.draft(None, (image.width // step, image.height // step))
    if not drafted:
        return None
    factor = drafted[1][2] / full
    left, top = box.left * factor, box.top * factor
    right, bottom = (box.left + box.width) * factor, (box.top + box.height) * factor
    return left, top, min(right, image.width), min(bottom, image.height)
