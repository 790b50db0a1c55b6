"""Sound files that are odd or damaged."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from faults.mixed import mixed

RATE = 16_000


def wave(seconds: float = 0.4, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise at a tenth of full scale."""
    return (0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))).astype(np.float32)


def encoded(values: np.ndarray, kind: str, rate: int = RATE, subtype: str | None = None) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def with_value(value: float, seed: int) -> np.ndarray:
    """Noise with one odd number in it."""
    values = wave(seed=seed)
    values[1_000] = value
    return values


def half(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def claiming(data: bytes) -> bytes:
    """A wav file whose header speaks of four gigabytes."""
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", 0xFFFFFF00) + data[at + 4 :]


ODD: dict[str, Callable[[int], bytes]] = {
    "plain.wav": lambda seed: encoded(wave(seed=seed), "WAV"),
    "bytes.wav": lambda seed: encoded(wave(seed=seed), "WAV", subtype="PCM_U8"),
    "deep.wav": lambda seed: encoded(wave(seed=seed), "WAV", subtype="PCM_24"),
    "adpcm.wav": lambda seed: encoded(wave(seed=seed), "WAV", subtype="MS_ADPCM"),
    "six.wav": lambda seed: encoded(wave(channels=6, seed=seed), "WAV"),
    "six.flac": lambda seed: encoded(wave(channels=6, seed=seed), "FLAC"),
    "stereo.flac": lambda seed: encoded(wave(rate=44_100, channels=2, seed=seed), "FLAC", 44_100),
    "slow.wav": lambda seed: encoded(wave(rate=8_000, seed=seed), "WAV", 8_000),
    "odd-rate.wav": lambda seed: encoded(wave(rate=44_101, seed=seed), "WAV", 44_101),
    "music.ogg": lambda seed: encoded(wave(rate=44_100, channels=2, seed=seed), "OGG", 44_100),
    "music.mp3": lambda seed: encoded(wave(rate=44_100, channels=2, seed=seed), "MP3", 44_100),
    "plain.aiff": lambda seed: encoded(wave(seed=seed), "AIFF"),
    "plain.au": lambda seed: encoded(wave(seed=seed), "AU"),
    "long.flac": lambda seed: encoded(wave(3.0, seed=seed), "FLAC"),
    "short.wav": lambda seed: encoded(wave(0.05, seed=seed), "WAV"),
    "silent.wav": lambda seed: encoded(0 * wave(seed=seed), "WAV"),
    "clipped.wav": lambda seed: encoded((50 * wave(seed=seed)).clip(-1, 1), "WAV"),
    "loud.wav": lambda seed: encoded(100 * wave(seed=seed), "WAV", subtype="FLOAT"),
    "half.wav": lambda seed: half(encoded(wave(seed=seed), "WAV")),
    "claiming.wav": lambda seed: claiming(encoded(wave(seed=seed), "WAV")),
    "is-flac.mp3": lambda seed: encoded(wave(seed=seed), "FLAC"),
}
"""Files that are sound, however odd: the end of the name and what makes the bytes from a seed."""

BAD: dict[str, Callable[[int], bytes]] = {
    "empty.wav": lambda seed: b"",
    "zeros.wav": lambda seed: bytes(2_000),
    "text.mp3": lambda seed: b"<html>404 not found</html>" * 9,
    "header.wav": lambda seed: encoded(wave(seed=seed), "WAV")[:44],
    "none.wav": lambda seed: encoded(wave(0.0), "WAV"),
    "one.wav": lambda seed: encoded(wave(1 / RATE, seed=seed), "WAV"),
    "less-than-a-window.wav": lambda seed: encoded(wave(0.03, seed=seed), "WAV"),
    "nan.wav": lambda seed: encoded(with_value(np.nan, seed), "WAV", subtype="FLOAT"),
    "infinite.wav": lambda seed: encoded(with_value(-np.inf, seed), "WAV", subtype="DOUBLE"),
    "far-too-loud.wav": lambda seed: encoded(with_value(1e30, seed), "WAV", subtype="FLOAT"),
    "half.flac": lambda seed: half(encoded(wave(seed=seed), "FLAC")),
    "half.ogg": lambda seed: half(encoded(wave(seed=seed), "OGG")),
    "half.mp3": lambda seed: half(encoded(wave(seed=seed), "MP3")),
    "ten-hertz.wav": lambda seed: encoded(wave(seed=seed), "WAV", 10),
    "hundred-channels.wav": lambda seed: encoded(wave(channels=100, seed=seed), "WAV"),
}
"""Files that cannot be used."""


def corrupt_sounds(folder: Path, good: int, seed: int = 0, each: int = 2) -> dict[str, str]:
    """Write `good` sound files of all kinds and `each` of every unusable kind; return the unusable ones with their kind."""
    return mixed(folder, ODD, BAD, good, seed, each)
