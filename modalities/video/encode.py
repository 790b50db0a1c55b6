"""Writing clips as H.264 files."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray


def write_video(
    path: str | os.PathLike[str],
    frames: UInt8[ndarray, "T H W"] | UInt8[ndarray, "T H W 3"],
    rate: int = 24,
    crf: int = 18,
    keyframes: int = 16,
) -> None:
    """Encode frames; the same frames give the same bytes with the same version of PyAV.

    Args:
        path: where to; the ending decides the container.
        frames: grey or RGB, of even height and width.
        rate: frames per second.
        crf: quality, 0 is lossless and 18 looks so.
        keyframes: a frame that needs no other at least every so many frames.
    """
    import av

    height, width = frames.shape[1:3]
    kind = "gray" if frames.ndim == 3 else "rgb24"
    options = {"crf": str(crf), "preset": "veryfast", "g": str(keyframes), "x264-params": "threads=1:log-level=none"}
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=kind)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
