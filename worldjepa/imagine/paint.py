"""From values to colours, and from rows of tiles to a sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw
from torch import Tensor

from worldjepa.errors import Unsaved
from worldjepa.imagine.subject import Tile

OUTLINE = (230, 120, 20)
"""Colour of a block's outline: what was imagined."""
HIDDEN = (150, 150, 158)
"""Colour of what was not seen."""
INK, PAPER = (40, 40, 40), (255, 255, 255)
SIDE, GAP, HEAD = 96, 6, 14
"""Least side of a tile, the space between two, and the height of a caption."""


def scaled(pixels: Tensor) -> Float[Tensor, "*b"]:
    """uint8 as numbers from -1 to 1."""
    return pixels.float() / 127.5 - 1


def shrunk(picture: Float[Tensor, "B C H W"], most: int) -> Float[Tensor, "B C h w"]:
    """Pictures with a side above `most` at a whole fraction of their scale."""
    times = -(-max(picture.shape[2:]) // most)
    return picture if times == 1 else F.avg_pool2d(picture, times, ceil_mode=True)


def grown(picture: Float[Tensor, "B C h w"], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Shrunk pictures at their old size."""
    return picture if tuple(picture.shape[2:]) == size else F.interpolate(picture, size=size, mode="bilinear")


def colours(picture: Float[Tensor, "B C H W"]) -> UInt8[ndarray, "B H W 3"]:
    """Values from -1 to 1 as colours: one channel grey, three RGB, two as orange and grey ink on white."""
    share = ((picture.float().cpu() + 1) / 2).clamp(0, 1)
    b, c, h, w = share.shape
    if c == 2:
        orange, grey = torch.tensor(OUTLINE)[:, None, None] / 255, torch.tensor(INK)[:, None, None] / 255
        rgb = 1 - share[:, 1:] * (1 - grey)
        rgb = rgb + share[:, :1] * (orange - rgb)
    else:
        rgb = share[:, :3] if c >= 3 else share[:, :1].expand(b, 3, h, w)
    found: UInt8[ndarray, "B H W 3"] = np.ascontiguousarray((rgb * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return found


def covered(
    pixels: UInt8[ndarray, "H W 3"], hidden: Bool[ndarray, "h w"], keep: tuple[int, int, int, int] | None = None
) -> UInt8[ndarray, "H W 3"]:
    """A picture with the cells of a lattice that are hidden in grey, but for a box (top, left, bottom, right) of pixels."""
    rows, cols = pixels.shape[0] // hidden.shape[0], pixels.shape[1] // hidden.shape[1]
    cover = hidden.repeat(rows, 0).repeat(cols, 1)
    if keep is not None:
        cover[keep[0] : keep[2], keep[1] : keep[3]] = False
    found: UInt8[ndarray, "H W 3"] = np.where(cover[..., None], np.array(HIDDEN, np.uint8), pixels)
    return found


def enlarged(pixels: UInt8[ndarray, "H W 3"], box: tuple[int, int, int, int] | None = None) -> UInt8[ndarray, "h w 3"]:
    """A picture of at least `SIDE` pixels, every pixel a square, with the outline of a box (top, left, bottom, right)."""
    times = max(1, -(-SIDE // max(pixels.shape[:2])))
    image = Image.fromarray(pixels).resize((pixels.shape[1] * times, pixels.shape[0] * times), Image.Resampling.NEAREST)
    if box is not None:
        top, left, bottom, right = (edge * times for edge in box)
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=OUTLINE, width=2)
    return np.array(image)


def heat(spread: Float[Tensor, "H W"], most: float) -> UInt8[ndarray, "H W 3"]:
    """Numbers from 0 to `most` from black over orange to white."""
    share = (spread.float().cpu() / max(most, 1e-9)).clamp(0, 1).numpy()[..., None]
    orange = np.array(OUTLINE, np.float32)
    low, high = orange * (2 * share), orange + (255 - orange) * (2 * share - 1)
    found: UInt8[ndarray, "H W 3"] = np.where(share < 0.5, low, high).clip(0, 255).astype(np.uint8)
    return found


def sheet(rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """All tiles, a row of them a line; a caption stands where it is not that of the tile above."""
    lines = [max(tile.pixels.shape[0] for tile in row) for row in rows]
    heads = [HEAD if _told(rows, index) else 0 for index in range(len(rows))]
    width = max(sum(tile.pixels.shape[1] + GAP for tile in row) for row in rows) + GAP
    image = Image.new("RGB", (width, sum(lines) + sum(heads) + GAP * (len(rows) + 1)), PAPER)
    pen, top = ImageDraw.Draw(image), GAP
    for row, line, head in zip(rows, lines, heads, strict=True):
        left = GAP
        for tile in row:
            if head:
                pen.text((left, top), tile.caption, fill=INK)
            image.paste(Image.fromarray(tile.pixels), (left, top + head))
            right, bottom = left + tile.pixels.shape[1], top + head + tile.pixels.shape[0]
            pen.rectangle((left - 1, top + head - 1, right, bottom), outline=HIDDEN)
            left = right + GAP
        top += line + head + GAP
    return image


def _told(rows: Sequence[Sequence[Tile]], index: int) -> bool:
    return not index or [tile.caption for tile in rows[index]] != [tile.caption for tile in rows[index - 1]]


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]]) -> None:
    """The sheet as PNG.

    Raises:
        Unsaved: the disk does not take it.
    """
    image = sheet(rows).quantize(256, dither=Image.Dither.NONE)
    aside(path, lambda part: image.save(part, "PNG", optimize=True))


def aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let a file be written beside its place and move it there, so that it is never seen half-written.

    Raises:
        Unsaved: the disk does not take it.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Unsaved(f"{path} could not be written: {error.strerror or error}") from error
