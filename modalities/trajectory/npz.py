"""Episodes as NumPy archives, one a file: `observations [T, ...]`, `actions [T-1, A]`, and where known `proprioception [T, P]`.

`worldjepa collect` writes them; `np.savez(file, observations=..., actions=...)` does, too.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from modalities.trajectory.sizes import Sizes, sizes_of
from worldjepa.errors import Unreadable
from worldjepa.world.episodes import Episode

_SPOILT = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError, NotImplementedError)
"""What damaged archives raise."""


def scan(path: Path) -> list[tuple[str, Sizes]]:
    """The one episode of a file, read from the headers of its arrays alone.

    Raises:
        Unreadable: the file is damaged or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            body = "proprioception.npy" in archive.namelist()
            shapes = [
                _shape(archive, name) for name in ("observations", "actions", *(["proprioception"] if body else []))
            ]
    except _SPOILT as error:
        raise Unreadable(f"{path}: {type(error).__name__}: {error}") from error
    return [("", sizes_of(shapes[0], shapes[1], shapes[2] if body else None, str(path)))]


def read(path: Path, inside: str) -> Episode:
    """The episode of a file.

    Raises:
        Unreadable: as `scan`.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            body = archive["proprioception"].astype(np.float32) if "proprioception" in archive else None
            episode = Episode(archive["observations"], archive["actions"].astype(np.float32), body)
    except _SPOILT as error:
        raise Unreadable(f"{path}: {type(error).__name__}: {error}") from error
    sizes_of(episode.observations.shape, episode.actions.shape, None if body is None else body.shape, str(path))
    return episode


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return tuple(header(file)[0])
