"""Reading frames with PyAV: the file is walked through once for its timeline, without decoding, then decoded where needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from modalities.video.frames import Choose, Timeline
from worldjepa.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_PIXELS = 1 << 26
"""Larger frames are refused: a small file can unpack to more memory than there is."""

MISSING = 0.05
"""A video that ends this share of its own length before it says counts as cut off."""


class _Index(NamedTuple):
    """The frames of a stream: their time stamps in order of showing, or None where the file gives none or repeats them."""

    count: int
    stamps: Int64[ndarray, " F"] | None
    end: float
    """When the last frame ends, in seconds from the first."""


def read_with_pyav(path: str, choose: Choose) -> UInt8[ndarray, "T H W 3"]:
    """The chosen frames in RGB, turned upright where the file says how.

    Raises:
        Unreadable: the file cannot be decoded, is cut off, or `choose` refuses it.
    """
    import av

    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise Unreadable("has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if stream.width * stream.height > MAX_PIXELS:
                raise Unreadable(f"frames of {stream.width} x {stream.height} pixels are more than are allowed")
            index = _index(container, stream)
            chosen = np.asarray(choose(_timeline(index, stream)), np.int64)
            return _decoded(container, stream, index, chosen)
    # PyAV's errors are also the nearest built-in ones: OSError, ValueError, EOFError and others.
    except (av.FFmpegError, ArithmeticError, LookupError, MemoryError, OSError, EOFError, UnicodeError) as error:
        raise Unreadable(f"PyAV cannot decode it ({type(error).__name__}: {error})") from error


def _index(container: InputContainer, stream: VideoStream) -> _Index:
    """Walk through the packets.

    Raises:
        Unreadable: there are none, or fewer than the file says.
    """
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    if not shown:
        raise Unreadable("has no frames")
    if stream.frames > len(packets):
        raise Unreadable(f"is cut off: {len(packets)} of {stream.frames} frames are there")
    stamps = [packet.pts for packet in shown if packet.pts is not None]
    base = float(stream.time_base or 0)
    if len(stamps) < len(shown) or len(set(stamps)) < len(stamps) or not base:
        return _Index(len(shown), None, 0.0)
    ordered = np.sort(np.array(stamps, np.int64))
    last = max((packet.duration or 0 for packet in shown), default=0)
    end = float(ordered[-1] - ordered[0] + last) * base
    said = _said_length(stream)
    if said is not None and end < (1 - MISSING) * said:
        raise Unreadable(f"is cut off: {end:.2f} of {said:.2f} seconds are there")
    return _Index(len(shown), ordered, end)


def _said_length(stream: VideoStream) -> float | None:
    """How long the stream is in seconds by a note of the file itself: Matroska and WebM keep one where they count no frames."""
    note = stream.metadata.get("DURATION", "")
    hours, _, rest = note.partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _timeline(index: _Index, stream: VideoStream) -> Timeline:
    if index.stamps is not None:
        starts = (index.stamps - index.stamps[0]) * float(stream.time_base)
        return Timeline(starts, max(index.end, float(starts[-1])))
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    return Timeline(np.arange(index.count) / rate, index.count / rate)


def _decoded(
    container: InputContainer, stream: VideoStream, index: _Index, chosen: Int64[ndarray, " T"]
) -> UInt8[ndarray, "T H W 3"]:
    wanted = set(chosen.tolist())
    found: dict[int, UInt8[ndarray, "H W 3"]] = {}
    from av.video.reformatter import VideoReformatter

    size: tuple[int, int] | None = None
    convert = (
        VideoReformatter()
    )  # one for all frames: each frame's own would be set up anew, at more than decoding costs
    for place, frame in _frames(container, stream, index, min(wanted)):
        if place in wanted:
            if frame.is_corrupt:
                raise Unreadable(f"frame {place} is damaged")
            size = size or (frame.width, frame.height)
            pixels = convert.reformat(frame, width=size[0], height=size[1], format="rgb24").to_ndarray()
            found[place] = _upright(pixels, frame.rotation)
            if len(found) == len(wanted):
                return np.stack([found[place] for place in chosen.tolist()])
    raise Unreadable(f"only {len(found)} of {len(wanted)} wanted frames can be decoded")


def _frames(
    container: InputContainer, stream: VideoStream, index: _Index, first: int
) -> Iterator[tuple[int, VideoFrame]]:
    """The frames with their places, from the last key frame before the first wanted one where the time stamps allow it."""
    if index.stamps is None:
        container.seek(0)
        yield from enumerate(container.decode(stream))
        return
    container.seek(int(index.stamps[first]), stream=stream, backward=True)
    places = {int(stamp): place for place, stamp in enumerate(index.stamps)}
    for frame in container.decode(stream):
        if frame.pts in places:
            yield places[frame.pts], frame


def _upright(pixels: UInt8[ndarray, "H W 3"], degrees: int) -> UInt8[ndarray, "H2 W2 3"]:
    turns = round(degrees / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels
