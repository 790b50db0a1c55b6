"""What takes seconds to make is made once and kept on disk: arrays, or a folder of files."""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]
Key = Mapping[str, str | int | float | list[int]]

_BLOCK = 1 << 20
_TRIES = 3


def home() -> Path:
    """Where worldjepa keeps what it can make again: `WORLDJEPA_HOME`, or `worldjepa` in the user's cache folder."""
    chosen = os.environ.get("WORLDJEPA_HOME")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "worldjepa"


def cached(name: str, key: Key, make: Callable[[], Arrays], folder: str | os.PathLike[str] | None = None) -> Arrays:
    """Return the arrays that `make` returns, from disk if they were made before under the same key.

    They come memory-mapped and read-only; otherwise as `cached_folder`. Where the folder cannot be written, a warning is
    given and the arrays stay in memory.

    Args:
        name: how the entry's folder name begins.
        key: everything that the arrays depend on.
        make: makes them.
        folder: where to keep them; by default `datasets` in `home()`.
    """
    made: Arrays = {}

    def fill(draft: Path) -> None:
        made.update(make())
        for part, array in made.items():
            np.save(draft / f"{part}.npy", array, allow_pickle=False)

    try:
        entry = _entry(name, key, fill, folder)
    except _Unwritable as error:
        warnings.warn(f"{error}: '{name}' is kept in memory and made anew by every run; {_ADVICE}", stacklevel=2)
        return made or make()
    try:
        return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in entry.glob("*.npy")} or made
    except FileNotFoundError:  # another process has just put the entry out of the way
        return made or make()


def cached_folder(
    name: str, key: Key, fill: Callable[[Path], None], folder: str | os.PathLike[str] | None = None
) -> Path:
    """Return a folder with the files that `fill` writes into it, as they were made before under the same key.

    What is on disk is checked against its recorded sizes and SHA-256, and made again if it differs. Several processes may
    do so at once: each writes a folder of its own, and renaming it is atomic. Where the folder cannot be written, a warning
    is given and the files lie in a temporary folder until the process ends.

    Args:
        name: how the entry's folder name begins.
        key: everything that the files depend on.
        fill: writes files, not folders, into the folder that it is given.
        folder: where to keep them; by default `datasets` in `home()`.
    """
    try:
        return _entry(name, key, fill, folder)
    except _Unwritable as error:
        warnings.warn(f"{error}: '{name}' is made anew by every run; {_ADVICE}", stacklevel=2)
        temporary = Path(tempfile.mkdtemp(prefix=f"worldjepa-{name}-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return _entry(name, key, fill, temporary)


class _Unwritable(Exception):
    """The cache cannot be written."""


_ADVICE = "set WORLDJEPA_HOME to a writable folder"


def _entry(name: str, key: Key, fill: Callable[[Path], None], folder: str | os.PathLike[str] | None) -> Path:
    """The folder of a sound entry, made if need be.

    Raises:
        _Unwritable: it cannot be written.
    """
    base = Path(folder).expanduser() if folder is not None else home() / "datasets"
    entry = base / f"{name}-{fingerprint(key)[:16]}"
    if not _sound(entry):
        try:
            _store(entry, key, fill)
        except OSError as error:
            raise _Unwritable(f"{base} cannot be written ({error.strerror or error})") from error
    return entry


def fingerprint(key: Key) -> str:
    """SHA-256 of the key in hexadecimal."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()


def _sound(entry: Path) -> bool:
    """Whether an entry is there, whole and as it was written."""
    try:
        recorded = json.loads((entry / "meta.json").read_text(encoding="utf-8"))["files"]
        for name, expected in recorded.items():
            path = entry / name
            if path.stat().st_size != expected["bytes"] or _digest(path) != expected["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, truncated or not what was written
        return False
    return True


def _store(entry: Path, key: Key, fill: Callable[[Path], None]) -> None:
    """Write an entry so that no other process ever sees a part of it.

    Raises:
        OSError: the folder cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = entry.parent / f".{entry.name}.{uuid.uuid4().hex}"
    try:
        draft.mkdir()
        fill(draft)
        files = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in sorted(draft.iterdir())}
        meta = {"key": dict(key), "files": files}
        (draft / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        _put(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(draft: Path, entry: Path) -> None:
    """Rename the draft to its final name, unless another process has meanwhile put a sound entry there."""
    for _ in range(_TRIES):
        try:
            draft.rename(entry)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if _sound(entry):
            return
        _discard(entry)


def _discard(entry: Path) -> None:
    """Remove a damaged entry: first out of the way in one step, then for good."""
    doomed = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # another process has moved it away already
        entry.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
