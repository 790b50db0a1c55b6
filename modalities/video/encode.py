"""Writing clips as H.264 files."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_X264 = "threads=1:log-level=none:bframes=0:scenecut=0:weightp=0:asm=0"
"""With x264's own settings the same small frames did not always give the same bytes; without B-frames, scene cuts, weighted
prediction and its assembler code they did in every trial (docs/log.md). Why is not known."""


def write_video(
    path: str | os.PathLike[str],
    frames: UInt8[ndarray, "T H W"] | UInt8[ndarray, "T H W 3"],
    rate: int = 24,
    crf: int = 18,
    keyframes: int = 16,
) -> None:
    """Encode frames; the same grey frames gave the same bytes in every trial with the same version of PyAV.

    Args:
        path: where to; the ending decides the container.
        frames: grey or RGB, of even height and width.
        rate: frames per second.
        crf: quality, 0 is lossless and 18 looks so.
        keyframes: a frame that needs no other at least every so many frames.
    """
    import av

    height, width = frames.shape[1:3]
    options = {"crf": str(crf), "preset": "veryfast", "g": str(keyframes), "x264-params": _X264}
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            planes = _planes(frame) if frames.ndim == 3 else np.ascontiguousarray(frame)
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p" if frames.ndim == 3 else "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _planes(frame: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H1 W"]:
    """A grey frame as luma, in the range from 16 to 235 that video has, over two planes of no colour, a quarter each.

    Done here so that no conversion of FFmpeg's stands between the drawn numbers and the encoder.
    """
    height, width = frame.shape
    luma = np.rint(16 + frame.astype(np.float32) * np.float32(219 / 255)).astype(np.uint8)
    return np.concatenate([luma, np.full((height // 2, width), 128, np.uint8)])
