"""What a file says about itself at its outermost level: which container it is, and how long it must be.

Decoders differ in what they make of a file that was cut off; some give what is there without a word. The containers tell at a
glance.
"""

from __future__ import annotations

from typing import BinaryIO

from worldjepa.errors import Unreadable

_BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_EBML = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18S\x80g"
_MOST_BOXES = 100_000


def check_container(file: BinaryIO, size: int) -> None:
    """Check that a file is an mp4, mov, mkv, webm or avi by its first bytes, and as long as it says.

    Args:
        file: the open file.
        size: its length in bytes.

    Raises:
        Unreadable: it is another kind of file, or is cut off.
    """
    head = file.read(12)
    if head[4:8] in _BOX_TYPES:
        needed = _end_of_boxes(file, size)
    elif head.startswith(_EBML):
        needed = _end_of_segment(file, size)
    elif head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        needed = 8 + int.from_bytes(head[4:8], "little")
    else:
        raise Unreadable("is not an mp4, mov, mkv, webm or avi file by its first bytes")
    if size < needed:
        raise Unreadable(f"is cut off or damaged: it should have {needed:,} bytes and has {size:,}")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box of an mp4 or mov file ends (ISO/IEC 14496-12, section 4.2)."""
    start = 0
    for _ in range(_MOST_BOXES):
        if start + 8 > size:
            break
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file; anything else says nothing
            return size
        start += length
    return start if start > size else size


def _end_of_segment(file: BinaryIO, size: int) -> int:
    """Where the segment of a Matroska or WebM file ends (RFC 8794, RFC 9559); where it does not say, the file's end."""
    file.seek(4)
    header, place = _variable(file.read(8), 4)
    start = place + (header or 0)
    if start + 8 > size:
        return start + 8
    file.seek(start)
    if file.read(4) != _SEGMENT:
        return size
    length, place = _variable(file.read(8), start + 4)
    return size if length is None else place + length


def _variable(data: bytes, place: int) -> tuple[int | None, int]:
    """A number of variable length, None if all its bits are set, which means unknown; and the place behind it."""
    if not data or not data[0]:
        return None, place
    width = 9 - data[0].bit_length()
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), place + width
