"""Opening image files, whatever is in them."""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator

from PIL import Image, ImageFile
from torch import Tensor

from worldjepa.errors import Unreadable

MAX_PIXELS = 2 * 89_478_485
"""Larger images are refused: a small file can unpack to more memory than there is. PIL's own limit, kept even where a
program has lifted PIL's."""

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

_PLAIN: dict[type[Exception], str] = {
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
