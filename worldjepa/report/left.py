"""What other commands leave in a run folder: how their numbers, settings and pictures are read and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.report.folder import flatten
from worldjepa.report.log import drawable, parsed
from worldjepa.report.page import Part
from worldjepa.report.picture import read_picture
from worldjepa.report.table import Words
from worldjepa.report.text import cut, short, shown


def left(folder: Path, *names: str) -> list[Path]:
    """The run folder and the folders in it that have one of these files."""
    inside = sorted({file.parent for name in names for file in folder.glob(f"*/{name}")})
    return [one for one in (folder, *inside) if any((one / name).is_file() for name in names)]


def read(file: Path) -> dict[str, object]:
    """The object of a JSON file.

    Raises:
        UserError: it cannot be read or holds no object.
    """
    try:
        found = parsed(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file.name} is no JSON object")
    return found


def asked_for(settings: object) -> Iterator[Words]:
    """The settings of a command in a sentence, if there are any."""
    if isinstance(settings, dict):
        given = [(key, value) for key, value in flatten(settings) if value is not None and value != []]
        told = ", ".join(f"{cut(key)}={shown(value)}" for key, value in given[:40])
        yield Words(f"Asked for: {told}.")


def pictures_of(folder: Path, names: Mapping[str, tuple[str, str]]) -> Iterator[Part]:
    """Those of some pictures, each with title and caption, that are there; what cannot be shown is said."""
    for name, (title, caption) in names.items():
        if (folder / name).is_file():
            try:
                yield read_picture(folder / name, title, f"{title}. {caption}", caption)
            except UserError as error:
                yield Words(str(error), warning=True)


def number(value: object) -> str:
    """A number, or a dash for what is none."""
    return short(drawable(value)) if isinstance(value, int | float) else "–"


def percent(value: object) -> str:
    """A share as percent, or a dash for what is none."""
    return f"{100 * drawable(value):.1f}" if isinstance(value, int | float) else "–"


def interval(share: object, *ends: object) -> str:
    """A share and its interval as percent."""
    return f"{percent(share)} ({' to '.join(map(percent, ends))})"
