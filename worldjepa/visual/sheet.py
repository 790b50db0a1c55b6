"""Sheets of pictures with captions, legends, and how they are written to disk."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from worldjepa.errors import Unsaved
from worldjepa.visual.colours import heat

INK, PAPER = (27, 29, 34), (255, 255, 255)
SMALL, LARGE = 13, 16
"""Pixels that letters of captions and of titles are high."""
GAP, MARGIN = 12, 12
NARROWEST = 96
"""Pixels that a caption may at least be wide."""
SIDE = 128
"""Pixels that a picture is about as wide or high as."""


class Cell(NamedTuple):
    """One picture of a sheet and what stands below it."""

    picture: UInt8[ndarray, "H W 3"]
    caption: str = ""


class Shown(NamedTuple):
    """A picture with its numbers."""

    image: Image.Image
    caption: str
    """What it shows, with the numbers that matter, in plain lines."""
    numbers: dict[str, Any]
    """All of them, for a file of JSON."""
    film: Sequence[Image.Image] = ()
    """The same moment by moment, where there are several."""


def sheet(rows: Sequence[Sequence[Cell]], title: str = "") -> Image.Image:
    """Cells in rows, each column as wide as its widest picture, captions below, a title above.

    A row of one cell, such as a legend, takes the width that it needs and is part of no column.
    """
    count = max(len(row) for row in rows)
    columns = [row for row in rows if len(row) > 1 or count == 1]
    widths = [max([NARROWEST, *(row[i].picture.shape[1] for row in columns if i < len(row))]) for i in range(count)]
    alone = max(row[0].picture.shape[1] for row in rows)
    width = max(sum(widths) + GAP * (count - 1), alone, 3 * NARROWEST)
    rooms = [widths if len(row) > 1 else [width] for row in rows]
    captions = [
        [wrapped(cell.caption, room, SMALL) for cell, room in zip(row, each, strict=False)]
        for row, each in zip(rows, rooms, strict=True)
    ]
    highs = [max(cell.picture.shape[0] for cell in row) for row in rows]
    belows = [max(len(lines) for lines in row) * line(SMALL) for row in captions]
    heading = wrapped(title, width, LARGE)
    top = MARGIN + len(heading) * line(LARGE) + (GAP // 2 if heading else 0)
    high = top + sum(highs) + sum(belows) + GAP * (len(rows) - 1) + MARGIN
    canvas = Image.new("RGB", (width + 2 * MARGIN, high), PAPER)
    pen = ImageDraw.Draw(canvas)
    _write(pen, (MARGIN, MARGIN), heading, LARGE)
    for row, texts, tall, below in zip(rows, captions, highs, belows, strict=True):
        left = MARGIN
        for cell, text, wide in zip(row, texts, widths, strict=False):
            canvas.paste(Image.fromarray(np.ascontiguousarray(cell.picture)), (left, top))
            _write(pen, (left, top + cell.picture.shape[0] + 2), text, SMALL)
            left += wide + GAP
        top += tall + below + GAP
    return canvas


def strip(frames: Shaped[ndarray, "F H W 3"], gap: int = 3) -> UInt8[ndarray, "H W2 3"]:
    """Frames side by side."""
    spaces = np.full((frames.shape[1], gap, 3), PAPER, np.uint8)
    return np.concatenate([part for frame in frames for part in (spaces, frame)][1:], axis=1)


def sized(pictures: UInt8[ndarray, "*b H W 3"], side: int = SIDE) -> UInt8[ndarray, "*b H2 W2 3"]:
    """Pictures enlarged by whole factors, or reduced, until their longer side has about `side` pixels."""
    high, wide = pictures.shape[-3:-1]
    longer = max(high, wide)
    if longer <= 1.5 * side:
        factor = max(1, round(side / longer))
        return pictures.repeat(factor, -3).repeat(factor, -2)
    size = (max(1, round(wide * side / longer)), max(1, round(high * side / longer)))
    flat = pictures.reshape(-1, high, wide, 3)
    reduced = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in flat]
    return np.stack(reduced).reshape(*pictures.shape[:-3], size[1], size[0], 3)


def side_of(frames: int) -> int:
    """How large the pictures of an observation of so many frames are shown."""
    return SIDE if frames == 1 else min(96, max(40, 720 // frames))


def spread(cells: Shaped[ndarray, "*b h w 3"], high: int, wide: int) -> Shaped[ndarray, "*b {high} {wide} 3"]:
    """The colours of cells over a picture of another size, divided evenly among them."""
    rows = np.arange(high) * cells.shape[-3] // high
    columns = np.arange(wide) * cells.shape[-2] // wide
    return cells[..., rows, :, :][..., columns, :]


def framed(
    picture: UInt8[ndarray, "H W 3"], cell: tuple[int, int], cells: tuple[int, int], colour: Sequence[int]
) -> UInt8[ndarray, "H W 3"]:
    """A picture with a frame around one of its cells, (row, column) of (rows, columns)."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    high, wide = picture.shape[:2]
    # `spread` gives a pixel p to cell p * cells // size: the first pixel of cell c is the ceiling of c * size / cells.
    top, left = -(-cell[0] * high // cells[0]), -(-cell[1] * wide // cells[1])
    bottom, right = -(-(cell[0] + 1) * high // cells[0]) - 1, -(-(cell[1] + 1) * wide // cells[1]) - 1
    thick = 2 if min(bottom - top, right - left) >= 8 else 1
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), outline=tuple(colour), width=thick)
    return np.asarray(image)


def marked(
    frames: UInt8[ndarray, "F H W 3"], here: Bool[ndarray, "F h w"], colour: Sequence[int]
) -> UInt8[ndarray, "H W2 3"]:
    """Pictures side by side with a frame around the one cell that is here."""
    ((number, row, column),) = np.argwhere(here).tolist()
    one = frames.copy()
    one[number] = framed(frames[number], (row, column), here.shape[1:], colour)
    return strip(one)


def legend(label: str, low: str, high: str, wide: int = 220) -> Cell:
    """A bar with the colours of `heat` between its two ends."""
    width = max(wide, round(font(SMALL).getlength(label)) + 2)
    bar = np.broadcast_to(heat(np.linspace(0, 1, wide)), (12, wide, 3))
    canvas = Image.new("RGB", (width, 12 + 2 * line(SMALL)), PAPER)
    canvas.paste(Image.fromarray(np.ascontiguousarray(bar)), (0, 0))
    pen = ImageDraw.Draw(canvas)
    _write(pen, (0, 13), [low], SMALL)
    _write(pen, (wide - round(font(SMALL).getlength(high)), 13), [high], SMALL)
    _write(pen, (0, 13 + line(SMALL)), [label], SMALL)
    return Cell(np.asarray(canvas))


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Text in lines of at most `width` pixels, broken at spaces; a longer word has a line of its own."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        begun = ""
        for word in paragraph.split():
            longer = f"{begun} {word}".strip()
            if begun and font(size).getlength(longer) > width:
                lines.append(begun)
                longer = word
            begun = longer
        lines.append(begun)
    return lines


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def line(size: int) -> int:
    """Pixels from one line of text to the next."""
    return size + 4


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str], size: int) -> None:
    for number, text in enumerate(lines):
        pen.text((at[0], at[1] + number * line(size)), text, fill=INK, font=font(size))


def save(shown: Shown, out: Path) -> list[Path]:
    """Write a picture as PNG, and its film, if it has one, as GIF beside it; returns the files.

    Raises:
        Unsaved: the disk does not take them.
    """
    files = [out]
    _save(shown.image, out, optimize=True)
    if len(shown.film) > 1:
        files.append(out.with_suffix(".gif"))
        first, *rest = shown.film
        _save(first, files[-1], save_all=True, append_images=rest, duration=300, loop=0)
    return files


def _save(image: Image.Image, path: Path, **how: Any) -> None:
    try:
        image.save(path, **how)
    except OSError as error:
        raise Unsaved(f"{path} could not be written: {error.strerror or error}") from error
