"""Arrays that take seconds to make are made once and kept on disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
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

    They come memory-mapped and read-only. What is on disk is checked against its recorded size and SHA-256, and made
    again if it differs. Several processes may do so at once: each writes a folder of its own, and renaming it is
    atomic. Where the folder cannot be written, a warning is given and the arrays stay in memory.

    Args:
        name: how the entry's folder name begins.
        key: everything that the arrays depend on.
        make: makes them.
        folder: where to keep them; by default `datasets` in `home()`.
    """
    base = Path(folder).expanduser() if folder is not None else home() / "datasets"
    entry = base / f"{name}-{fingerprint(key)[:16]}"
    arrays = _load(entry)
    if arrays is not None:
        return arrays
    made = make()
    try:
        _store(entry, key, made)
    except OSError as error:
        warnings.warn(
            f"{base} cannot be written ({error.strerror or error}): '{name}' is kept in memory and made anew by every "
            "run; set WORLDJEPA_HOME to a writable folder",
            stacklevel=2,
        )
        return made
    arrays = _load(entry)
    return made if arrays is None else arrays


def fingerprint(key: Key) -> str:
    """SHA-256 of the key in hexadecimal."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()


def _load(entry: Path) -> Arrays | None:
    """The arrays of an entry, or None if it is missing or damaged."""
    try:
        recorded = json.loads((entry / "meta.json").read_text(encoding="utf-8"))["files"]
        arrays: Arrays = {}
        for name, expected in recorded.items():
            path = entry / f"{name}.npy"
            if path.stat().st_size != expected["bytes"] or _digest(path) != expected["sha256"]:
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, truncated or not what was written
        return None
    return arrays


def _store(entry: Path, key: Key, arrays: Arrays) -> None:
    """Write an entry so that no other process ever sees a part of it.

    Raises:
        OSError: the folder cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = entry.parent / f".{entry.name}.{uuid.uuid4().hex}"
    try:
        draft.mkdir()
        files = {}
        for name, array in arrays.items():
            path = draft / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            files[name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
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
        if _load(entry) is not None:
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
