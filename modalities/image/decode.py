"""Bringing every kind of pixel to 8-bit grey or RGB."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from worldjepa.errors import Unreadable

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode_jpeg(image: Image.Image, channels: int) -> UInt8[Tensor, "C H W"] | None:
    """All pixels of a plain JPEG that has been opened and not loaded, or None where PIL has to do it.

    torchvision's decoder gives the same pixels as PIL in about three quarters of the time. It is a first try: whatever it
    refuses, PIL judges. Only colours that both understand alike are tried; grey from RGB is not, for it rounds otherwise.
    """
    if (image.format, image.mode) not in (("JPEG", "RGB"), ("JPEG", "L")) or image.mode == "RGB" != _mode(channels):
        return None
    file = getattr(image, "fp", None)
    if file is None:  # loaded already
        return None
    import torchvision.io as io  # takes a while: only where it is used

    file.seek(0)
    data = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    colours = io.ImageReadMode.RGB if channels == 3 else io.ImageReadMode.GRAY
    try:
        pixels: Tensor = io.decode_jpeg(data, colours)
    except RuntimeError:
        return None
    return pixels if pixels.shape[1:] == (image.height, image.width) else None


def _mode(channels: int) -> str:
    return "L" if channels == 1 else "RGB"


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert a picture of any mode to grey (1 channel) or RGB (3). Transparency is dropped, 16 bits are scaled to 8.

    Raises:
        Unreadable: the pixels are floating-point numbers, whose range is unknown.
    """
    mode = _mode(channels)
    if image.mode == mode:
        image.load()
        return image
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no known range: convert the image to 8 or 16 bits")
    if image.mode in _SIXTEEN_BIT:
        image = _eight_bit(image)
    elif image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns if a palette with transparency is converted to RGB directly
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
