"""Finding files, and holding millions of their names in little memory."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from worldjepa.errors import UserError, suggest


class PathTable:
    """An immutable list of paths in two arrays: the names end to end, and where each one ends.

    A Python list would be copied page by page into every data worker as soon as its reference counts are touched, and
    takes about three times the memory to begin with.
    """

    def __init__(self, paths: Iterable[str]):
        names, ends = bytearray(), array("q", [0])
        for path in paths:
            names += os.fsencode(path)
            ends.append(len(names))
        small = len(names) < 2**32
        self._names = np.frombuffer(bytes(names), np.uint8)
        self._ends = np.frombuffer(ends, np.int64).astype(np.uint32 if small else np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        """The path at `index`.

        Raises:
            IndexError: there is no such path.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"path {index} of {len(self)}")
        return os.fsdecode(self._names[self._ends[index] : self._ends[index + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def select(self, indices: Integer[ndarray, " K"]) -> PathTable:
        """The paths at the given indices, in that order."""
        return PathTable(self[int(index)] for index in indices)

    def fingerprint(self) -> str:
        """SHA-256 of all names and their order, in hexadecimal."""
        digest = hashlib.sha256(self._ends.astype("<i8").tobytes())
        digest.update(self._names.tobytes())
        return digest.hexdigest()


class Kind(NamedTuple):
    """What files of a kind are called, and the endings of their names, in any case."""

    plural: str
    suffixes: Sequence[str]


def scan(root: str | os.PathLike[str], kind: Kind) -> PathTable:
    """Find all files of a kind below `root`, as paths relative to it, sorted folder by folder.

    Symbolic links to folders are followed, except back into a folder that encloses them. Hidden files and folders,
    whose names begin with a dot, are left out.

    Raises:
        UserError: there is no such folder, it cannot be read, or it holds no such files; the message says what it holds.
    """
    root = check_folder(root)
    others: Counter[str] = Counter()
    endings = tuple(suffix.lower() for suffix in kind.suffixes)
    table = PathTable(_walk(root, "", endings, others, ()))
    if not len(table):
        raise UserError(
            f"no {kind.plural} in {root}: looked for files ending in {', '.join(endings)} in it and in all folders below; "
            + _what_else(others)
        )
    return table


def check_folder(path: str | os.PathLike[str]) -> str:
    """Return the path with `~` expanded.

    Raises:
        UserError: it is not a folder; the message gives the nearest name that does exist.
    """
    path = os.path.expanduser(os.fspath(path))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise UserError(f"{path} is a file, not a folder")
    raise UserError(f"{path} does not exist{nearest_entry(path)}")


def nearest_entry(path: str) -> str:
    """For a missing path, say how far it leads and which entry there has the nearest name."""
    parent, name = os.path.split(os.path.abspath(path))
    while not os.path.isdir(parent):
        parent, name = os.path.split(parent)
    if not os.access(parent, os.R_OK):
        return f": there is no '{name}' in {parent}"
    return f": there is no '{name}' in {parent}{suggest(name, os.listdir(parent))}"


def folders_in(path: str) -> list[str]:
    """Names of the folders directly in `path`, sorted; hidden ones are left out."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _walk(
    root: str, below: str, suffixes: tuple[str, ...], others: Counter[str], enclosing: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    """Yield files in and below `root/below`, counting the endings of all other files."""
    folder = os.path.join(root, below)
    try:
        status = os.stat(folder)
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in enclosing:
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir():
            yield from _walk(root, path, suffixes, others, (*enclosing, here))
        elif entry.is_file():
            if entry.name.lower().endswith(suffixes):
                yield path
            else:
                others[os.path.splitext(entry.name)[1].lower()] += 1


def _what_else(others: Counter[str]) -> str:
    if not others:
        return "there are no files at all"
    kinds = [f"{count} with {suffix or 'no ending'}" for suffix, count in others.most_common(5)]
    return f"found {others.total()} other file(s): {', '.join(kinds)}"
