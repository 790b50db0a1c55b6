"""The files that CIFAR's images come in: the binary version, and the one for Python, which is read without unpickling.

A pickle may construct anything. Here what it asks for is replaced by inert records, of which arrays of bytes are made
afterwards; a file that asks for anything else is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from worldjepa.errors import UserError

PIXELS = 3 * 32 * 32


class _Type:
    """Stands for numpy's `dtype` and `ndarray` in a pickle."""

    __slots__ = ("name",)

    def __init__(self, *arguments: object):
        self.name = _text(arguments[0]) if arguments else ""

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which bytes do not have."""


class _Array:
    """Stands for an array in a pickle: what numpy would be handed."""

    __slots__ = ("state",)

    def __init__(self, *arguments: object):
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def bytes(self) -> UInt8[ndarray, "N P"]:
        """The array, if it is a plain one of bytes.

        Raises:
            ValueError: it is not, or its length does not fit its shape.
        """
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without content")
        _, shape, kind, by_columns, data = self.state
        if not isinstance(kind, _Type) or kind.name not in ("u1", "uint8") or not isinstance(data, bytes):
            raise ValueError("an array of something else than bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if by_columns else "C")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _Type,
}


class _Reader(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Reads in Python: the one in C sets aside as much memory as a damaged file says."""

    def find_class(self, module: str, name: str) -> Any:
        """The record that stands for it; nothing is imported.

        Raises:
            pickle.UnpicklingError: there is none.
        """
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no such file needs")
        return _KNOWN[module, name]


def read_pickle(path: str) -> dict[str, Any]:
    """The table in a file of the version for Python; arrays are NumPy's, text is text.

    Raises:
        UserError: the file is damaged, holds something else, or asks for more than arrays of bytes.
    """
    try:
        with open(path, "rb") as file:
            content = _Reader(io.BytesIO(file.read()), encoding="bytes").load()
        if not isinstance(content, dict):
            raise ValueError("no table")
        return {_text(key): _plain(value) for key, value in content.items()}
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error) as error:
        raise UserError(f"{path} is no file of CIFAR's: {error}") from error
    except (OSError, EOFError, OverflowError, MemoryError, RecursionError, ImportError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.bytes()
    if isinstance(value, list):
        return [_text(one) if isinstance(one, bytes) else one for one in value]
    return value


def _text(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise ValueError("a name that is no text")
    return value if isinstance(value, str) else value.decode()


def pickled_batch(path: str, keys: tuple[str, ...]) -> tuple[UInt8[ndarray, "N 3 32 32"], Int64[ndarray, "L N"]]:
    """Images and labels of a file of the version for Python: `data`, and a list of numbers for each key.

    Raises:
        UserError: the file is damaged or holds something else.
    """
    content = read_pickle(path)
    pixels = content.get("data")
    labels = [content.get(key) for key in keys]
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise UserError(f"{path} has no 'data' of {PIXELS} bytes an image")
    for key, found in zip(keys, labels, strict=True):
        right = isinstance(found, list) and len(found) == len(pixels) and all(type(one) is int for one in found)
        if not right:
            raise UserError(f"{path} has no '{key}' with a number for each of {len(pixels)} images")
    return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64).reshape(len(keys), -1)


def binary_batch(path: str, labels: int) -> tuple[UInt8[ndarray, "N 3 32 32"], Int64[ndarray, "L N"]]:
    """Images and labels of a file of the binary version: for each image so many bytes of labels, then its pixels.

    Raises:
        UserError: the file is cut off or of another kind.
    """
    size = os.path.getsize(path)
    record = labels + PIXELS
    if not size or size % record:
        raise UserError(f"{path} is cut off or no file of CIFAR's: {size} bytes are not a multiple of {record}")
    rows = np.fromfile(path, np.uint8).reshape(-1, record)
    return rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, :labels].T.astype(np.int64)
