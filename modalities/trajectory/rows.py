"""Rows of parquet files in which many episodes lie one after another. Needs `pip install worldjepa[parquet]`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from worldjepa.errors import Unreadable, UserError

EPISODE = "episode_index"
"""The column that says which episode a row belongs to."""
_SPOILT = (OSError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError)
"""What damaged files raise; pyarrow's errors are also these."""


def numbers(path: Path, names: Sequence[str], episode: int | None = None) -> dict[str, Float64[ndarray, "R W"]]:
    """Columns of numbers or of lists of them, W to a row.

    Args:
        path: the file.
        names: the columns.
        episode: only the rows of this episode; of the rest as little as possible is read.

    Raises:
        Unreadable: the file is damaged, has no such column, or the lists of one differ in length.
        UserError: pyarrow is not installed.
    """
    found = _table(path, names, episode)
    try:
        return {name: _matrix(found.column(name), len(found), name) for name in names}
    except _SPOILT as error:
        raise _told(path, error) from error


def encoded_pictures(path: Path, name: str, episode: int) -> list[bytes]:
    """A column of pictures, each as the bytes of an image file.

    Raises:
        Unreadable: as `numbers`, or a row holds no picture.
        UserError: pyarrow is not installed.
    """
    found = _table(path, [name], episode)
    try:
        held = [row["bytes"] for row in found.column(name).to_pylist()]
    except _SPOILT as error:
        raise _told(path, error) from error
    if not all(isinstance(one, bytes) for one in held):
        raise Unreadable(f"{path}: not every row of '{name}' holds a picture")
    return held


def _table(path: Path, names: Sequence[str], episode: int | None) -> Any:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(f"{path} needs pyarrow: pip install worldjepa[parquet]") from error
    columns = [*names, *([] if episode is None or EPISODE in names else [EPISODE])]
    try:
        with parquet.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise Unreadable(f"{path}: has no column '{missing[0]}'")
            groups = [i for i in range(file.num_row_groups) if episode is None or _may_hold(file, i, episode)]
            table = file.read_row_groups(groups, columns=columns)
        return table if episode is None else table.filter(np.asarray(table.column(EPISODE)) == episode)
    except _SPOILT as error:
        raise _told(path, error) from error


def _may_hold(file: Any, group: int, episode: int) -> bool:
    """Whether rows of the episode can be among those of a group, by what the file notes of its least and largest number."""
    described = file.metadata.row_group(group)
    for index in range(described.num_columns):
        column = described.column(index)
        if column.path_in_schema == EPISODE:
            noted = column.statistics
            return noted is None or not noted.has_min_max or noted.min <= episode <= noted.max
    return True


def _matrix(column: Any, rows: int, name: str) -> Float64[ndarray, "R W"]:
    if not rows:
        raise ValueError(f"'{name}' has no rows")
    values = column.combine_chunks()
    for _ in range(8):  # lists of lists, for numbers of several axes
        if "list" not in str(values.type):
            break
        values = values.flatten()
    flat = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    if flat.size % rows or not flat.size:
        raise ValueError(f"the rows of '{name}' do not hold equally many numbers")
    return flat.reshape(rows, -1)


def _told(path: Path, error: Exception) -> UserError:
    return error if isinstance(error, UserError) else Unreadable(f"{path}: {type(error).__name__}: {error}")
