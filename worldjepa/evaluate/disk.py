"""Files that are there whole or not at all: written aside, on disk before they get their name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20


def aside(file: Path) -> Path:
    """Where a file is written before it gets its name."""
    return file.with_name(f".{file.name}")


def publish(file: Path) -> None:
    """Give what was written aside its name once it is on disk."""
    draft = aside(file)
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    draft.replace(file)


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Write an .npy file."""
    with aside(file).open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    publish(file)


def write_json(file: Path, value: Any) -> None:
    """Write a file of JSON."""
    aside(file).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    publish(file)


def join(file: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write arrays one after another into one .npy file, without having them all in memory."""
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    whole = np.lib.format.open_memmap(aside(file), mode="w+", dtype=arrays[0].dtype, shape=shape)
    start = 0
    for array in arrays:
        whole[start : start + len(array)] = array
        start += len(array)
    whole.flush()
    del whole
    publish(file)


def digest(file: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
