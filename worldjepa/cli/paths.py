"""Help for paths that are not there."""

from __future__ import annotations

import difflib
from pathlib import Path

from worldjepa.errors import UserError


def not_there(what: str, path: Path) -> UserError:
    """The error for a path that does not exist: names it and the nearest path that does."""
    near = nearest(path)
    return UserError(f"{what} '{path}' is not there" + (f" (did you mean '{near}'?)" if near else ""))


def nearest(path: Path) -> Path | None:
    """The existing path most like `path`: every part that is missing is replaced by the nearest name beside it.

    Returns:
        The path, or None if nothing comes near; where only the beginning can be matched, the folder found so far.
    """
    found = path
    missing: list[str] = []
    while not found.exists() and found != found.parent:
        missing.append(found.name)
        found = found.parent
    start = found
    for name in reversed(missing):
        names = [entry.name for entry in found.iterdir()] if found.is_dir() else []
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        if not near:
            break
        found = found / near[0]
    return found if found != start else None
