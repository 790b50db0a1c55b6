"""Episodes in HDF5 files, one a group: `GROUP/observations`, `GROUP/actions`, and where known `GROUP/proprioception`.

A file whose arrays lie at its top holds one episode. Needs `pip install worldjepa[hdf5]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modalities.trajectory.sizes import Sizes, sizes_of
from worldjepa.data.hdf5 import open_hdf5
from worldjepa.errors import Unreadable, UserError
from worldjepa.world.episodes import Episode

_SPOILT = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)
"""What damaged files raise."""


def scan(path: Path) -> list[tuple[str, Sizes]]:
    """The episodes of a file, in the order of their groups' names.

    Raises:
        Unreadable: the file is damaged or holds something else.
        UserError: h5py is not installed.
    """
    try:
        with open_hdf5(path) as file:
            groups = [""] if "observations" in file else sorted(name for name in file if "observations" in file[name])
            if not groups:
                raise Unreadable(f"{path}: no group holds observations")
            return [(group, _sizes(_group(file, group), f"{path}:{group}")) for group in groups]
    except _SPOILT as error:
        raise _told(path, error) from error


def read(path: Path, inside: str) -> Episode:
    """One of the episodes.

    Raises:
        Unreadable: as `scan`.
    """
    try:
        with open_hdf5(path) as file:
            group = _group(file, inside)
            _sizes(group, f"{path}:{inside}")
            body = np.asarray(group["proprioception"][()], np.float32) if "proprioception" in group else None
            return Episode(group["observations"][()], np.asarray(group["actions"][()], np.float32), body)
    except _SPOILT as error:
        raise _told(path, error) from error


def _told(path: Path, error: Exception) -> UserError:
    return error if isinstance(error, UserError) else Unreadable(f"{path}: {type(error).__name__}: {error}")


def _group(file: Any, inside: str) -> Any:
    return file[inside] if inside else file


def _sizes(group: Any, name: str) -> Sizes:
    body = group["proprioception"].shape if "proprioception" in group else None
    return sizes_of(tuple(group["observations"].shape), tuple(group["actions"].shape), body, name)
