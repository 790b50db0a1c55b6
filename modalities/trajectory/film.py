"""Frames of a video file by their times, for episodes that lie in one file one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from worldjepa.errors import Unreadable

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

MAX_PIXELS = 1 << 26
"""Larger frames are refused: a small file can unpack to more memory than there is."""


def frames_at(
    path: Path, times: Float64[ndarray, " T"], apart: float, side: int | None = None
) -> UInt8[ndarray, "T 3 H W"]:
    """The frames that are shown at given times, in RGB.

    Decoding begins at the last key frame before the first of them and ends at the last of them.

    Args:
        path: the file.
        times: seconds since the first frame, ascending.
        apart: seconds from one frame to the next; a frame answers for half of that before and after it.
        side: bring pictures to `side` x `side`, all of them visible; otherwise they stay as they are.

    Raises:
        Unreadable: the file is missing, damaged or cut off, or no frame is shown at one of the times.
    """
    import av
    from av.video.reformatter import Interpolation, VideoReformatter

    found: dict[int, UInt8[ndarray, "H W 3"]] = {}
    convert = VideoReformatter()
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            raise Unreadable(f"{path}: no such file")
        # The format is given, so that nothing that only is called mp4 can make the library open other files.
        with av.open(os.fspath(path), format="mp4") as container:
            for shown, frame in _shown(container, float(times[0])):
                for index in np.flatnonzero(np.abs(times - shown) <= apart / 2):
                    if index not in found:
                        picture = convert.reformat(frame, side, side, "rgb24", interpolation=Interpolation.AREA)
                        found[int(index)] = picture.to_ndarray()
                if len(found) == len(times) or shown > times[-1] + apart:
                    break
    # PyAV's errors are also the nearest built-in ones: OSError, ValueError, EOFError and others.
    except (av.FFmpegError, ArithmeticError, LookupError, MemoryError, OSError, EOFError, UnicodeError) as error:
        raise Unreadable(f"{path}: PyAV cannot decode it ({type(error).__name__}: {error})") from error
    lost = [index for index in range(len(times)) if index not in found]
    if lost:
        raise Unreadable(
            f"{path}: no frame at {times[lost[0]]:.3f} seconds, nor at {len(lost) - 1} others of {len(times)}"
        )
    return np.stack([found[index] for index in range(len(times))]).transpose(0, 3, 1, 2)


def _shown(container: InputContainer, first: float) -> Iterator[tuple[float, VideoFrame]]:
    """The frames from the last key frame before a time on, with the seconds at which they are shown.

    Raises:
        Unreadable: there is no video, or a frame is damaged.
    """
    if not container.streams.video:
        raise Unreadable(f"{container.name}: holds no video")
    stream = container.streams.video[0]
    base, begins = float(stream.time_base or 0), stream.start_time or 0
    if not base:
        raise Unreadable(f"{container.name}: its frames have no times")
    if stream.width * stream.height > MAX_PIXELS:
        raise Unreadable(f"{container.name}: {stream.width} x {stream.height} pixels are more than are allowed")
    stream.codec_context.thread_count = 1
    container.seek(begins + int(first / base), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise Unreadable(f"{container.name}: a frame is damaged")
        if frame.pts is not None:
            yield (frame.pts - begins) * base, frame
