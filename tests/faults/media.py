"""Image files that are odd, damaged or hostile."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from faults.mixed import mixed


def picture(mode: str, side: int = 40, seed: int = 0) -> Image.Image:
    """A picture of any mode, with something to compress."""
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 4)).astype(np.uint8)
    values[: side // 2] = 128
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return (
        Image.fromarray(values, "RGBA").convert("RGB").convert(mode)
        if mode != "RGBA"
        else Image.fromarray(values, "RGBA")
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


ODD: dict[str, Callable[[int], bytes]] = {
    "rgb.jpg": lambda seed: encoded(picture("RGB", seed=seed), "JPEG"),
    "progressive.jpg": lambda seed: encoded(picture("RGB", seed=seed), "JPEG", progressive=True),
    "cmyk.jpg": lambda seed: encoded(picture("CMYK", seed=seed), "JPEG"),
    "grey.jpg": lambda seed: encoded(picture("L", seed=seed), "JPEG"),
    "rgb.png": lambda seed: encoded(picture("RGB", seed=seed), "PNG"),
    "rgba.png": lambda seed: encoded(picture("RGBA", seed=seed), "PNG"),
    "palette.png": lambda seed: encoded(picture("P", seed=seed), "PNG", transparency=0),
    "sixteen.png": lambda seed: encoded(picture("I;16", seed=seed), "PNG"),
    "bits.png": lambda seed: encoded(picture("1", seed=seed), "PNG"),
    "tall.png": lambda seed: encoded(picture("RGB", seed=seed).resize((3, 90)), "PNG"),
    "pixel.png": lambda seed: encoded(picture("RGB", 1, seed), "PNG"),
    "grey-alpha.png": lambda seed: encoded(picture("LA", seed=seed), "PNG"),
    "frames.gif": lambda seed: encoded(
        picture("P", seed=seed), "GIF", save_all=True, append_images=[picture("P", seed=seed + 1)]
    ),
    "rgb.webp": lambda seed: encoded(picture("RGB", seed=seed), "WEBP"),
    "rgb.bmp": lambda seed: encoded(picture("RGB", seed=seed), "BMP"),
    "plain.tif": lambda seed: encoded(picture("RGB", seed=seed), "TIFF"),
    "lzw.tif": lambda seed: encoded(picture("RGB", seed=seed), "TIFF", compression="tiff_lzw"),
    "grey.pgm": lambda seed: encoded(picture("L", seed=seed), "PPM"),
}
"""Files that are sound, however odd: the end of the name and what makes the bytes from a seed."""


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG file with these chunks between header and end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def _bad_float() -> bytes:
    return encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")


BAD: dict[str, Callable[[int], bytes]] = {
    "empty.jpg": lambda seed: b"",
    "zeros.jpg": lambda seed: bytes(2000),
    "text.png": lambda seed: b"<html>404 not found</html>",
    "header-only.jpg": lambda seed: ODD["rgb.jpg"](seed)[:20],
    "half.jpg": lambda seed: (data := ODD["rgb.jpg"](seed))[: len(data) // 2],
    "half-progressive.jpg": lambda seed: (data := ODD["progressive.jpg"](seed))[: len(data) // 3],
    "half.png": lambda seed: (data := ODD["rgb.png"](seed))[: len(data) // 2],
    "torn.png": lambda seed: (data := ODD["rgb.png"](seed))[:60] + bytes(len(data) - 60),
    "half.webp": lambda seed: (data := ODD["rgb.webp"](seed))[: len(data) // 2],
    "half.bmp": lambda seed: (data := ODD["rgb.bmp"](seed))[: len(data) // 2],
    "half.tif": lambda seed: (data := ODD["lzw.tif"](seed))[: len(data) // 2],
    "half.gif": lambda seed: ODD["frames.gif"](seed)[:30],
    "float.tif": lambda seed: _bad_float(),
    "no-size.png": lambda seed: png(0, 0, 8, 2),
}
"""Files that cannot be used."""

BOMBS: dict[str, Callable[[], bytes]] = {
    "pixels.png": lambda: png(16000, 16000, 1, 0, chunk(b"IDAT", zlib.compress(bytes(16000 * 2001), 9))),
    "text.png": lambda: png(
        8,
        8,
        8,
        0,
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(400_000_000), 9)),
        chunk(b"IDAT", zlib.compress(bytes(72))),
    ),
    "profile.png": lambda: png(
        8,
        8,
        8,
        0,
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(400_000_000), 9)),
        chunk(b"IDAT", zlib.compress(bytes(72))),
    ),
    "canvas.gif": lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + ODD["frames.gif"](0)[10:],
    "rows.bmp": lambda: ODD["rgb.bmp"](0)[:18] + struct.pack("<ii", 46000, 46000) + ODD["rgb.bmp"](0)[26:],
    "rows.tif": lambda: tiff(40, 1_000_000_000),
    "canvas.webp": lambda: (
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0\xff\x3f\0"
    ),
    "rows.pgm": lambda: b"P5\n60000 60000\n255\n" + bytes(100),
}
"""Small files that ask for more memory than there is."""


def tiff(width: int, rows: int) -> bytes:
    """A TIFF header that claims a size, and no pixels."""
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, rows),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (279, 4, 1, 8),
    ]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + body + bytes(4)


def corrupt_images(folder: Path, good: int, seed: int = 0, each: int = 3) -> dict[str, str]:
    """Write `good` sound images of all kinds and `each` of every unusable kind; return the unusable ones with their kind."""
    return mixed(folder, ODD, BAD, good, seed, each)
