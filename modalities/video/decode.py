"""Opening video files: what is one at all, with which library, and what to say when it cannot be read."""

from __future__ import annotations

import functools
import os
import stat
import tempfile
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from modalities.video.container import check_container
from modalities.video.encode import write_video
from modalities.video.frames import Choose
from modalities.video.with_decord import read_with_decord
from modalities.video.with_pyav import read_with_pyav
from worldjepa.errors import Unreadable, UserError

Decoder = Literal["auto", "decord", "pyav"]
Read = Callable[[str, Choose], UInt8[ndarray, "T H W 3"]]

READERS: dict[str, Read] = {"decord": read_with_decord, "pyav": read_with_pyav}

_PLAIN = {
    PermissionError: "may not be read",
    FileNotFoundError: "no such file",
    NotADirectoryError: "no such file",
}


class _Refused(Unreadable):
    """The video was decoded well enough to know that it is of no use: no other library needs to try."""


def read_clip(path: str, choose: Choose, decoder: Decoder = "auto") -> UInt8[ndarray, "T H W 3"]:
    """The chosen frames of a video in RGB.

    Each library at hand is tried once, decord first; there are no further attempts. Files that are no video by their first
    bytes are not handed to them at all: playlists and the like could make them open other files.

    Args:
        path: the file: mp4, mov, mkv, webm or avi.
        choose: says which frames, given the timeline.
        decoder: `decord` or `pyav` to use only that one.

    Raises:
        Unreadable: the file is missing, is no video, is damaged or cut off, or `choose` refuses it; the message names it and
            says why.
    """
    try:
        check_file(path)
        return _first_success(path, choose, readers() if decoder == "auto" else (decoder,))
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error


def _first_success(path: str, choose: Choose, names: tuple[str, ...]) -> UInt8[ndarray, "T H W 3"]:
    def marked(timeline: object) -> object:
        try:
            return choose(timeline)  # type: ignore[arg-type]
        except Unreadable as error:
            raise _Refused(str(error)) from error

    failure = Unreadable("no library to decode it")
    for name in names:
        try:
            return READERS[name](path, marked)  # type: ignore[arg-type]
        except _Refused:
            raise
        except Unreadable as error:
            failure = error
    raise failure


def check_file(path: str) -> None:
    """Raise `Unreadable` unless this is a regular file that begins like a video and is as long as it says."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise Unreadable("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
        if not status.st_size:
            raise Unreadable("is empty")
        with open(path, "rb") as file:
            check_container(file, status.st_size)
    except OSError as error:
        raise Unreadable(_PLAIN.get(type(error)) or f"cannot be opened ({error.strerror or error})") from error


def check_decoder(name: str) -> Decoder:
    """Return the name.

    Raises:
        UserError: it is none of a decoder, or the library is missing or does not work here.
    """
    if name not in ("auto", *READERS):
        raise UserError(f"decoder must be auto, decord or pyav: '{name}'")
    if name == "decord" and "decord" not in readers():
        raise UserError(
            "decoder=decord: decord, eva-decord or decord2 is not installed or fails on a video made for trial"
        )
    return name  # type: ignore[return-value]


@functools.cache
def readers() -> tuple[str, ...]:
    """The libraries that decode a video made for trial, in the order in which they are used."""
    shades = np.arange(16, 256, 32, dtype=np.uint8)  # [8]
    clip = np.broadcast_to(shades[:, None, None], (8, 64, 64))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trial.mp4")
        write_video(path, clip)
        return tuple(name for name, read in READERS.items() if _works(read, path, shades))


def _works(read: Read, path: str, shades: UInt8[ndarray, " T"]) -> bool:
    try:
        frames = read(path, lambda timeline: range(timeline.count))
    except (ImportError, OSError, Unreadable):  # missing, without a library that it needs, or of no use
        return False
    return len(frames) == len(shades) and bool((abs(frames.mean((1, 2, 3)) - shades) < 8).all())
