"""What `worldjepa imagine` left in a run folder: the picture, and what a judge read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.report.left import asked_for, interval, left, number, percent, pictures_of, read
from worldjepa.report.log import drawable
from worldjepa.report.page import Part, Section
from worldjepa.report.table import Cell, Column, Strong, Table, Words
from worldjepa.report.text import cut, points

FILE = "measure.json"
MOST = 6
"""Results that are shown, and factors of each."""
_PICTURES = {
    "imagined.png": (
        "Imagined",
        "What the predictor says of what it did not see, drawn by a decoder; see the headings.",
    ),
    "imagined.gif": ("Imagined, moving", "The same, played."),
}
_NAMES = {
    "truth": "what was there",
    "samples": "samples from predictions",
    "regression": "the control: the mean of what could be",
    "batch mean": "samples from the mean prediction",
}


def imagined(folder: Path) -> list[Section]:
    """A section for each folder of imagined things in a run folder, and for the run folder itself."""
    return [_section(one, one == folder) for one in left(folder, *_PICTURES)[:MOST]]


def _section(folder: Path, top: bool) -> Section:
    parts: list[Part] = [*pictures_of(folder, _PICTURES)]
    if (folder / FILE).is_file():
        try:
            parts += _measure(read(folder / FILE))
        except UserError as error:
            parts.append(Words(str(error), warning=True))
    return Section("Imagined" if top else f"Imagined: {cut(folder.name)}", parts)


def _measure(found: dict[str, object]) -> Iterator[Part]:
    factors = found.get("factors")
    for name, entry in list(factors.items())[:MOST] if isinstance(factors, dict) else []:
        if isinstance(entry, dict):
            yield _factor(cut(str(name)), entry)
            yield from _more(cut(str(name)), entry)
    variance = _object(found, "variance")
    if variance:
        yield Words(
            f"Variance between samples of one prediction {number(variance.get('of_samples'))}, between true pictures "
            f"{number(variance.get('of_true_pictures'))}: what varies between samples is not in the representation."
        )
    yield from asked_for(found.get("settings"))


def _factor(name: str, entry: dict[str, object]) -> Table:
    places, errors = entry.get("kind") == "numbers", _object(entry, "median_error")
    rows: list[tuple[Cell, ...]] = []
    for row, told in list(_object(entry, "share").items())[:8]:
        one = told if isinstance(told, dict) else {}
        share = interval(one.get("mean"), one.get("low"), one.get("high"))
        more = [number(errors.get(row))] if places else []
        rows.append((_NAMES.get(row, cut(row)), Strong(share) if row == "samples" else share, *more))
    if "chance" in entry:
        rows.append(("chance", percent(entry["chance"]), *(["–"] if places else [])))
    within = f"within {number(entry.get('radius'))} of the true one" if places else "right"
    headings = (f"{within}, % (95 % interval)", *(["median error"] if places else []))
    title = f"{name}, read by a judge from {number(entry.get('scenes'))} scenes"
    return Table(title, (Column("", False), *map(Column, headings)), rows)


def _more(name: str, entry: dict[str, object]) -> Iterator[Words]:
    """How much more is read from samples than from the others."""
    told = []
    for row, one in list(_object(entry, "more_than").items())[:4]:
        if isinstance(one, dict) and isinstance(one.get("mean"), int | float):
            told.append(
                f"{points(drawable(one['mean']))} often than from {_NAMES.get(row, cut(row))} (p {number(one.get('p'))})"
            )
    if told:
        yield Words(f"{name} is read from samples {', '.join(told)}.")


def _object(found: dict[str, object], key: str) -> dict[str, object]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}
