"""Memory-mapped arrays in pickles: data workers get the name of the file and map it themselves."""

from __future__ import annotations

from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class MappedFile(NamedTuple):
    """Stands for a memory-mapped .npy file in a pickle."""

    path: str


def packed(array: NDArray[Any]) -> NDArray[Any] | MappedFile:
    """What to pickle of an array: the file, if it is a whole mapped one; parts of one are pickled by value, as NumPy does."""
    base: object = array.base
    if isinstance(array, np.memmap) and isinstance(base, mmap):
        return MappedFile(str(array.filename))
    return array


def unpacked(value: NDArray[Any] | MappedFile) -> NDArray[Any]:
    """The array again."""
    return np.load(value.path, mmap_mode="r", allow_pickle=False) if isinstance(value, MappedFile) else value
