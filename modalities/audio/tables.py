"""Reading the tables that come with sound data sets."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from worldjepa.data.paths import check_folder, nearest_entry
from worldjepa.errors import UserError, suggest


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


def some(names: Sequence[str]) -> str:
    """The first three names of a list."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
