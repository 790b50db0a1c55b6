"""Reading the tables and lists that come with data sets, and finding what they name."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldjepa.data.paths import check_folder, nearest_entry
from worldjepa.errors import UserError, suggest


def archive_folder(root: str, *names: str) -> str:
    """The folder that an archive unpacks to: `root` itself, or the first of these folders in it.

    Raises:
        UserError: there is no folder `root`.
    """
    root = check_folder(root)
    return next((path for path in (os.path.join(root, name) for name in names) if os.path.isdir(path)), root)


def required(root: str, paths: Sequence[str], layout: str) -> str:
    """The first of some files below `root` that is there.

    Args:
        root: the data set's folder.
        paths: where the file may be, below it.
        layout: what the data set's folder looks like, for the message.

    Raises:
        UserError: none is there; the message names the first, what is nearest to it, and the layout.
    """
    places = [os.path.join(root, path) for path in paths]
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        raise UserError(f"{places[0]} does not exist{nearest_entry(places[0])}; expected {layout}")
    return found


def read_table(root: str, path: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header.

    Args:
        root: the data set's folder.
        path: the file below it.
        columns: those that must be there.

    Raises:
        UserError: the folder, the file or a column is missing, or there are no rows.
    """
    file = os.path.join(check_folder(root), path)
    if not os.path.isfile(file):
        raise UserError(f"{file} does not exist{nearest_entry(file)}")
    with open(file, encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        names = list(reader.fieldnames or [])
        for column in columns:
            if column not in names:
                raise UserError(f"{file} has no column '{column}'{suggest(column, names)}; it has: {', '.join(names)}")
        rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    if not rows:
        raise UserError(f"{file} lists nothing")
    return rows


def read_rows(file: str, columns: int, delimiter: str = ",") -> list[list[str]]:
    """The rows of a CSV file without a header.

    Raises:
        UserError: a row has another number of columns, or there are none; the message names file and line.
    """
    rows = []
    with open(file, encoding="utf-8-sig", newline="") as opened:
        reader = csv.reader(opened, delimiter=delimiter)
        for row in reader:
            if len(row) != columns:
                raise UserError(f"{file}, line {reader.line_num}: {columns} column(s) expected, found {len(row)}")
            rows.append([cell.strip() for cell in row])
    if not rows:
        raise UserError(f"{file} lists nothing")
    return rows


def read_json(file: str, kind: type) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it is no JSON, is not of this kind or is empty.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            value = json.load(opened)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(value, kind) or not value:
        raise UserError(f"{file} must hold a {'table' if kind is dict else 'list'} with something in it")
    return value


def entry(table: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A value of a table that was read from JSON.

    Raises:
        UserError: it is missing or of another kind.
    """
    if not isinstance(table, dict) or name not in table:
        raise UserError(f"{where} has no '{name}'{suggest(name, table) if isinstance(table, dict) else ''}")
    if not isinstance(table[name], kind):
        raise UserError(f"{where}: '{name}' is of another kind than it must be: {str(table[name])[:60]}")
    return table[name]


def existing(root: str, paths: Sequence[str], what: str, where: str) -> NDArray[np.int64]:
    """Which of some listed files or folders are there.

    Copies of public sets are seldom whole, so that missing ones are told, not fatal.

    Args:
        root: the folder that the paths are relative to.
        paths: what is listed.
        what: what they are, in the plural.
        where: the list, for messages.

    Raises:
        UserError: none is there.
    """
    within: dict[str, set[str]] = {}  # each folder is read once: asking for every file would take long over a network
    for folder in {os.path.dirname(path) for path in paths}:
        place = os.path.join(root, folder)
        within[folder] = set(os.listdir(place)) if os.path.isdir(place) else set()
    there = np.fromiter(
        (os.path.basename(path) in within[os.path.dirname(path)] for path in paths), np.bool_, len(paths)
    )
    if not there.any():
        first = os.path.join(root, paths[0]) if len(paths) else "nothing"
        near = nearest_entry(first) if len(paths) else ""
        raise UserError(f"{where}: none of {len(there)} listed {what} is there, beginning with {first}{near}")
    if not there.all():
        lacking = int((~there).sum())
        warnings.warn(f"{where}: {lacking:,} of {len(there):,} listed {what} are not there", stacklevel=3)
    return np.flatnonzero(there).astype(np.int64)


def some(names: Sequence[str]) -> str:
    """The first three names of a list."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
