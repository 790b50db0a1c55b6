"""Attaching classes to files."""

from __future__ import annotations

import os

import numpy as np

from worldjepa.data.files import Files
from worldjepa.data.paths import folders_in
from worldjepa.errors import UserError, suggest

IGNORED = 255
"""Pixels with this label count nowhere."""


def class_folders(files: Files) -> list[str]:
    """The first-level folders if they are classes (two or more, all with such files, none beside them), or else nothing."""
    first = {path.partition("/")[0] if "/" in path else "" for path in files.paths}
    if "" in first or len(first) < 2 or first != set(folders_in(files.root)):
        return []
    return sorted(first)


def label_by_folder(files: Files, classes: list[str]) -> Files:
    """Attach the first-level folder of every file as its class.

    Raises:
        UserError: a folder is not one of the classes, or a file lies in none.
    """
    return labelled(files, [path.rpartition("/")[0].partition("/")[0] for path in files.paths], classes, files.root)


def labelled(files: Files, names: list[str], classes: list[str], where: str) -> Files:
    """Attach the classes.

    Raises:
        UserError: a name is not one of the classes, or there is not one name for each file.
    """
    if len(names) != len(files):
        raise UserError(f"{where} has {len(names)} lines for {len(files)} files in {files.root}")
    strange = sorted(set(names) - set(classes))
    if strange == [""]:
        raise UserError(f"{where} has files that are in no class folder, but the training files have classes")
    if strange:
        raise UserError(
            f"{where}: '{strange[-1]}' is not a class of the training files{suggest(strange[-1], classes)}; "
            f"{len(strange)} unknown in all"
        )
    return files.labelled(names, classes)


def with_labels(files: Files) -> Files:
    """The files that have a class, of several factors the first's."""
    return files.select(np.flatnonzero(next(iter(files.factors.values())).index >= 0))


def read_lines(path: str, setting: str) -> list[str]:
    """The lines of a text file without the empty ones.

    Raises:
        UserError: the file is missing or empty; the message names the setting that asked for it.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f"{setting}: there is no file {path}")
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip()]
    if not lines:
        raise UserError(f"{setting}: {path} is empty")
    return lines
