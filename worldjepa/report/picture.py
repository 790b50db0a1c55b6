"""Pictures that are held by the page itself."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from worldjepa.errors import UserError

MOST_BYTES = 2 << 20
"""Of one picture."""
MOST_PIXELS = 50_000_000
"""Of one picture: a few bytes can unfold to more than a browser has memory for."""

_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_GIFS, _GIF_END = (b"GIF87a", b"GIF89a"), b"\x3b"


class Format(NamedTuple):
    """What the bytes of a picture say of it."""

    mime: str
    width: int
    height: int


@final
@dataclass(frozen=True)
class Picture:
    """A PNG or GIF.

    Args:
        title: what is shown.
        alt: what a person who cannot see it should know.
        data: the bytes of the file.
        caption: how to read it.
        command: what made it.

    Raises:
        UserError: the bytes are no whole PNG or GIF, or too many.
    """

    title: str
    alt: str
    data: bytes
    caption: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        assert self.alt.strip(), "a picture needs words for those who cannot see it"
        form(self.data)

    @property
    def width(self) -> int:
        """In pixels."""
        return form(self.data).width

    @property
    def height(self) -> int:
        """In pixels."""
        return form(self.data).height

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{form(self.data).mime};base64,{base64.b64encode(self.data).decode()}"


def form(data: bytes) -> Format:
    """The format and size of a picture, by its bytes and not by its name.

    Raises:
        UserError: it is no whole PNG or GIF, or too large.
    """
    if len(data) > MOST_BYTES:
        raise UserError(f"it has {len(data):,} bytes, more than {MOST_BYTES:,}")
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and data.endswith(_PNG_END):
        found = Format("image/png", *struct.unpack(">II", data[16:24]))
    elif data.startswith(_GIFS) and len(data) > 13 and data.endswith(_GIF_END):
        found = Format("image/gif", *struct.unpack("<HH", data[6:10]))
    else:
        raise UserError("it is no whole PNG or GIF")
    if not 0 < found.width * found.height <= MOST_PIXELS:
        raise UserError(f"it has {found.width} x {found.height} pixels; 1 to {MOST_PIXELS:,} can be shown")
    return found


def read_picture(file: Path, title: str, alt: str, caption: str = "", command: str = "") -> Picture:
    """The picture of a file; see `Picture`.

    Raises:
        UserError: it cannot be read or shown; the message names the file.
    """
    try:
        with file.open("rb") as stream:
            return Picture(title, alt, stream.read(MOST_BYTES + 1), caption, command)
    except OSError as error:
        raise UserError(f"the picture {file} cannot be read: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"the picture {file} cannot be shown: {error}") from error
