"""Opening image files and bringing every kind of pixel to 8-bit grey or RGB."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from torch import Tensor

from worldjepa.errors import UserError

MAX_PIXELS = 2 * 89_478_485
"""Larger images are refused: a small file can unpack to more memory than there is. PIL's own limit, kept even where a
program has lifted PIL's."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What PIL's decoders raise on damaged files."""


def read_image(path: str, use: Callable[[Image.Image], Tensor]) -> Tensor:
    """Open an image, hand it to `use` before its pixels are decoded, and return what that makes of it.

    The orientation tag (EXIF) is not applied, as in the published recipes.

    Raises:
        UserError: the file is missing, too large or cannot be decoded; the message names it.
    """
    try:
        with _open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed")
            return use(image)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    # What PIL's decoders raise on damaged files, by its documentation and by experience with truncated ones.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path}: cannot be decoded as an image ({type(error).__name__}: {error})") from error


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert a picture of any mode to grey (1 channel) or RGB (3). Transparency is dropped, 16 bits are scaled to 8.

    Raises:
        UserError: the pixels are floating-point numbers, whose range is unknown.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        image.load()
        return image
    if image.mode == "F":
        raise UserError("floating-point pixels have no known range: convert the image to 8 or 16 bits")
    if image.mode in _SIXTEEN_BIT:
        image = _eight_bit(image)
    elif image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns if a palette with transparency is converted to RGB directly
    return image if image.mode == mode else image.convert(mode)


def _open(path: str) -> Image.Image:
    with warnings.catch_warnings():
        # PIL warns from half of its limit upwards; below the limit, such images are ordinary here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
