"""Opening image files and bringing every kind of pixel to 8-bit grey or RGB."""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageFile
from torch import Tensor

from worldjepa.errors import Unreadable

MAX_PIXELS = 2 * 89_478_485
"""Larger images are refused: a small file can unpack to more memory than there is. PIL's own limit, kept even where a
program has lifted PIL's."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")

_DAMAGE = (
    OSError,  # truncated files, unknown formats, and all that the file system says
    SyntaxError,  # chunks out of order and wrong checksums
    ValueError,  # numbers out of range, text chunks that unpack to too much
    TypeError,  # TIFF tags of another type than they must be
    OverflowError,  # TIFF tags that no machine word holds
    MemoryError,  # headers that ask for more than there is
    EOFError,  # the end where a frame should be
    IndexError,  # tables that are shorter than they say
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What PIL raises on damaged files: seen in 800,000 files damaged at random, or caught by PIL itself where it opens files."""

_PLAIN = {
    IsADirectoryError: "is a folder",
    PermissionError: "may not be read",
    FileNotFoundError: "no such file",
}


def read_image(path: str, use: Callable[[Image.Image], Tensor]) -> Tensor:
    """Open an image, hand it to `use` before its pixels are decoded, and return what that makes of it.

    The orientation tag (EXIF) is not applied, as in the published recipes. Of several frames the first is taken.

    Raises:
        Unreadable: the file is missing, empty, too large or cannot be decoded; the message names it and says why.
    """
    try:
        # PIL warns of much that is odd about a file; here it is either readable or not.
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            if not os.fstat(file.fileno()).st_size:
                raise Unreadable("is empty")
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Unreadable(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed")
                with _whole():
                    return use(image)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error
    except _DAMAGE as error:
        why = _PLAIN.get(type(error)) or f"cannot be decoded as an image ({type(error).__name__}: {error})"
        raise Unreadable(f"{path}: {why}") from error


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Refuse truncated files, even where a program has told PIL to fill them up with grey."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


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
