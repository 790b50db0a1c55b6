"""Reading a stretch of a sound file: wav, flac, ogg, mp3 and whatever else libsndfile knows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import NamedTuple

import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import Unreadable

RATES = (1_000, 768_000)
"""Sample rates outside this range are taken for damage."""

MOST_CHANNELS = 64
"""So are more channels than this."""

LOUDEST = 1e10
"""Samples beyond this are taken for damage too; whole numbers of 32 bits that were written as they are are below it."""

_BLOCK = 1 << 20
"""Numbers that are decoded at a time."""

_PLAIN = {
    IsADirectoryError: "is a folder",
    PermissionError: "may not be read",
    FileNotFoundError: "no such file",
}


class Stretch(NamedTuple):
    """A part of a recording, at the recording's own rate."""

    wave: Float[Tensor, " S"]
    """The mean of all channels; integers are scaled to [-1, 1]."""
    rate: int


def read_stretch(path: str, seconds: float, place: Callable[[float], float], shortest: float = 0.0) -> Stretch:
    """Read at most `seconds` of a file, and no more of it than that.

    Args:
        path: the file.
        seconds: how much to read.
        place: is asked only if the recording is longer: given how many seconds are left over, returns where to begin.
        shortest: recordings of fewer seconds are refused.

    Raises:
        Unreadable: the file is missing, empty, too short, no sound that libsndfile knows, ends before its header says, or holds
            numbers that are not finite; the message names it and says why.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise Unreadable("is empty")
            # By its descriptor: libsndfile then reads the file itself. From Python's object it reads by callbacks, which takes
            # longer, and their errors go to the screen.
            with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
                return _read(sound, seconds, place, shortest)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error
    except soundfile.LibsndfileError as error:
        raise Unreadable(f"{path}: cannot be decoded as a sound ({error.error_string.strip()})") from error
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        # ValueError: what soundfile itself says of files that it cannot take, such as raw ones.
        why = _PLAIN.get(type(error)) or f"cannot be decoded as a sound ({type(error).__name__}: {error})"
        raise Unreadable(f"{path}: {why}") from error


def _read(sound: soundfile.SoundFile, seconds: float, place: Callable[[float], float], shortest: float) -> Stretch:
    rate, channels, length = sound.samplerate, sound.channels, sound.frames
    if not RATES[0] <= rate <= RATES[1]:
        raise Unreadable(f"a sample rate of {rate} Hz is outside {RATES[0]:,} to {RATES[1]:,}")
    if channels > MOST_CHANNELS:
        raise Unreadable(f"{channels} channels are more than the {MOST_CHANNELS} allowed")
    if length < max(1.0, shortest * rate):
        raise Unreadable(f"{length} sample(s) at {rate} Hz are too short: less than {shortest:.3f} s")
    wanted = min(length, math.ceil(seconds * rate))
    if wanted < length:
        sound.seek(min(length - wanted, int(place((length - wanted) / rate) * rate)))
    wave = _mixed(sound, wanted)
    if len(wave) < wanted:
        raise Unreadable(f"ends after {len(wave)} of {wanted} samples")
    low, high = wave.aminmax()  # a number that is none is both
    peak = max(-float(low), float(high))
    if not math.isfinite(peak):
        raise Unreadable("holds numbers that are not finite")
    if peak > LOUDEST:
        raise Unreadable(f"holds numbers up to {peak:.0e}, where full scale is 1")
    return Stretch(wave, rate)


def _mix(block: Float[Tensor, "s C"]) -> Float[Tensor, " s"]:
    """The mean of all channels, added one after another: PyTorch's own mean is slow along so short an axis."""
    first, *others = block.unbind(1)
    if not others:
        return first
    total = first.clone()
    for channel in others:
        total += channel
    return total.div_(block.shape[1])


def _mixed(sound: soundfile.SoundFile, wanted: int) -> Float[Tensor, " S"]:
    """The next samples, as far as there are any, channels mixed block by block: many of them at once could fill gigabytes."""
    parts = []
    while wanted > 0:
        read = sound.read(min(wanted, max(1, _BLOCK // sound.channels)), dtype="float32", always_2d=True)  # [s, C]
        if not len(read):
            break
        parts.append(_mix(torch.from_numpy(read)))
        wanted -= len(read)
    return parts[0] if len(parts) == 1 else torch.cat([torch.zeros(0), *parts])
