"""Reading frames with decord, under which name eva-decord and decord2 come too."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from modalities.video.frames import Choose, Timeline
from worldjepa.errors import Unreadable


def read_with_decord(path: str, choose: Choose) -> UInt8[ndarray, "T H W 3"]:
    """The chosen frames in RGB.

    Raises:
        Unreadable: the file cannot be decoded, or `choose` refuses it.
    """
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # One thread: a run has its own worker processes, and more threads a reader would only get in their way.
        video = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        count = len(video)
        if not count:
            raise Unreadable("has no frames")
        spans = np.asarray(video.get_frame_timestamp(range(count)), np.float64).reshape(count, 2)
        chosen = choose(Timeline(spans[:, 0], float(spans[-1, 1])))
        frames: UInt8[ndarray, "T H W 3"] = video.get_batch(list(chosen)).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise Unreadable(f"decord cannot decode it ({_reason(error)})") from error
    return frames


def _reason(error: Exception) -> str:
    """The gist of decord's message, which begins with time and place and may end with a stack."""
    return str(error).strip().partition("\n")[0].rpartition("] ")[2][-160:]
