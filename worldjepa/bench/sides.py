"""Which results a person means: files, folders, or a model in a folder by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from worldjepa.bench.aggregate import boards
from worldjepa.bench.record import Record, read, read_all
from worldjepa.errors import UserError, unknown


class Side(NamedTuple):
    """One of two models that are compared."""

    name: str
    records: list[Record]


def gather(places: Sequence[Path]) -> list[Record]:
    """The results in all of these files and folders; one that is found twice counts once.

    Raises:
        UserError: one is not there, is no result, or there are none in all.
    """
    found = [record for place in places for record in (read_all(place) if place.is_dir() else [read(place)])]
    if not found:
        raise UserError(f"there are no results in {', '.join(map(str, places))}: `worldjepa bench run` writes them")
    return [*{(record.place, record.key, record.score): record for record in found}.values()]


def side(word: str, within: Path | None = None) -> Side:
    """The results that a word means.

    Args:
        word: a folder or file with the results of one model, a folder with a model's name behind it, or, with `within`, a
            model's name or another row of a report, such as `untrained`.
        within: the folder that it is in.

    Raises:
        UserError: there is nothing of that name, or results of several models.
    """
    path = Path(word).expanduser()
    if within is not None:
        return Side(word, _named(word, within))
    if path.exists():
        return Side(path.resolve().name, _only(path))
    if path.name != word and path.parent.is_dir():
        return Side(path.name, _named(path.name, path.parent))
    raise UserError(
        f"'{word}' is no folder and no file; a model in a folder is FOLDER/NAME, or NAME with within=FOLDER"
    )


def _named(name: str, folder: Path) -> list[Record]:
    rows = _rows(gather([folder]))
    if name not in rows:
        raise unknown(f"in {folder}, the model", name, rows)
    return rows[name]


def _only(path: Path) -> list[Record]:
    records = [record for record in gather([path]) if record.row == "trained"]
    rows = _rows(records)
    if len(rows) > 1:
        raise UserError(f"{path} holds results of {len(rows)} models: name one, as {path}/{next(iter(rows))}")
    if not rows:
        raise UserError(f"{path} holds no result of a trained model")
    return next(iter(rows.values()))


def _rows(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The results of each row that a report has but chance."""
    found: dict[str, list[Record]] = {}
    for board in boards(records):
        for line in board.lines:
            if line.row != "chance":
                mine = found.setdefault(board.label(line), [])
                mine += [record for record in line.records if record not in mine]  # some stand on several boards
    return found
