"""Opening HDF5 files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from worldjepa.errors import UserError


def open_hdf5(path: str | Path, extra: str = "hdf5") -> Any:
    """The file, open for reading; closing it is the caller's.

    Args:
        path: where it is.
        extra: of worldjepa, which brings h5py.

    Raises:
        UserError: h5py is not installed.
        OSError: it cannot be opened, or is no such file.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise UserError(f"{path} needs h5py: pip install worldjepa[{extra}]") from error
    return h5py.File(path, "r")
