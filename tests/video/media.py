"""Video files that are sound, odd, damaged or hostile."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAMES = 24
"""Frames of the videos here, unless their name says otherwise."""


def shade(number: int) -> int:
    """The grey of a frame: so one sees which frame was decoded."""
    return 20 + 8 * number


def frame(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A grey frame with a bright corner at the top left, so that one sees which way is up."""
    pixels = np.full((height, width, 3), shade(number), np.uint8)
    pixels[: height // 4, : width // 4] = 250
    return pixels


def video(
    kind: str = "mp4",
    codec: str = "libx264",
    frames: int = FRAMES,
    rate: int = 12,
    times: list[int] | None = None,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a video; `times` are the frames' time stamps in ticks of 1/1000 s instead of an even rate."""
    with tempfile.NamedTemporaryFile() as file:
        _write(file.name, kind, codec, frames, rate, times, pixels, size, options, container_options)
        return Path(file.name).read_bytes()


def _write(
    path: str,
    kind: str,
    codec: str,
    frames: int,
    rate: int,
    times: list[int] | None,
    pixels: str,
    size: tuple[int, int],
    options: dict[str, str] | None,
    container_options: dict[str, str] | None,
) -> None:
    with av.open(path, "w", format=kind, options=container_options or {}) as container:
        track = container.add_stream(codec, rate=rate, options={"g": "8", **(options or {})})
        track.width, track.height, track.pix_fmt = *size, pixels
        if times is not None:
            track.time_base = track.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(frame(number, *size), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            container.mux(track.encode(picture))
        container.mux(track.encode())


FASTSTART = {"movflags": "faststart"}


def sound(kind: str = "mp4") -> bytes:
    """A file with sound and no pictures."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as container:
        track = container.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(np.arange(16384) / 9).astype(np.float32)[None]
        part = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        part.sample_rate = 16000
        container.mux(track.encode(part))
        container.mux(track.encode())
    return stream.getvalue()


def rotated(degrees: int) -> bytes:
    """A video whose header says by how much to turn it, clockwise, as telephones write it."""
    data = bytearray(video())
    turns = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, reserved and layer
    for offset, value in zip((0, 4, 12, 16), turns, strict=True):
        struct.pack_into(">i", data, place + offset, value * 65536)
    return bytes(data)


def damaged(data: bytes, share: float = 0.5) -> bytes:
    """The same with a stretch of garbage in it."""
    middle, length = int(len(data) * share), len(data) // 5
    garbage = np.random.default_rng(0).integers(0, 256, length).astype(np.uint8).tobytes()
    return data[:middle] + garbage + data[middle + length :]


SOUND: dict[str, Callable[[], bytes]] = {
    "h264.mp4": video,
    "h264.mov": lambda: video("mov"),
    "h264.mkv": lambda: video("matroska"),
    "vp9.webm": lambda: video("webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": lambda: video("avi", "mpeg4"),
    "mjpeg.avi": lambda: video("avi", "mjpeg", pixels="yuvj420p"),
    "b-frames.mp4": lambda: video(options={"bf": "3"}),
    "faststart.mp4": lambda: video(container_options=FASTSTART),
    "fragmented.mp4": lambda: video(container_options={"movflags": "frag_keyframe+empty_moov"}),
    "ten-bit.mkv": lambda: video("matroska", pixels="yuv420p10le"),
}
"""Files of `FRAMES` frames that are to be read."""

BAD: dict[str, Callable[[], bytes]] = {
    "empty.mp4": lambda: b"",
    "zeros.mp4": lambda: bytes(5000),
    "text.mp4": lambda: b"<html>404 not found</html>",
    "playlist.mp4": lambda: b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n",
    "header-only.mp4": lambda: video()[:200],
    "no-index.mp4": lambda: video()[:-800],
    "cut-off.mp4": lambda: video(container_options=FASTSTART)[:-400],
    "cut-off.mkv": lambda: video("matroska")[:-500],
    "sound-only.mp4": sound,
    "no-frames.mp4": lambda: video(frames=0),
    "png.mp4": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
}
"""Files that no clip can be taken from."""
