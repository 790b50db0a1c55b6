"""What `worldjepa plan` left in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.report.folder import flatten
from worldjepa.report.log import drawable, parsed
from worldjepa.report.page import Part, Section
from worldjepa.report.picture import read_picture
from worldjepa.report.table import Cell, Column, Strong, Table, Words
from worldjepa.report.text import cut, short, shown

FILE = "plan.json"
MOST = 6
"""Results that are shown."""
_PICTURES = {
    "episodes.png": ("Episodes", "The way that was gone (blue), the plans on the way (orange) and the goal (green)."),
    "episode.gif": ("An episode", "The longest that reached its goal, step by step."),
}


def plans(folder: Path) -> list[Section]:
    """A section for each result of planning in a run folder or in a folder of it."""
    files = [folder / FILE, *sorted(folder.glob(f"*/{FILE}"))]
    return [_section(file) for file in files if file.is_file()][:MOST]


def _section(file: Path) -> Section:
    title = f"Planning: {cut(file.parent.name)}"
    try:
        found = parsed(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        return Section(title, [Words(f"{file.name} cannot be read: {error}", warning=True)])
    if not isinstance(found, dict) or not isinstance(found.get("actors"), dict):
        return Section(title, [Words(f"{file.name} tells of no episodes.", warning=True)])
    settings = found.get("settings")
    parts: list[Part] = [_actors(found["actors"]), Words(_in_words(found))]
    if isinstance(settings, dict):
        given = [(key, value) for key, value in flatten(settings) if value is not None and value != []]
        told = ", ".join(f"{cut(key)}={shown(value)}" for key, value in given[:40])
        parts.append(Words(f"Asked for: {told}."))
    return Section(title, [*parts, *_pictures(file.parent)])


def _actors(actors: Mapping[str, object]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for index, (name, told) in enumerate(list(actors.items())[:20]):
        row = told if isinstance(told, dict) else {}
        interval = row.get("interval")
        ends = interval if isinstance(interval, list) and len(interval) == 2 else [None, None]
        share = f"{_percent(row.get('success'))} ({' to '.join(map(_percent, ends))})"
        cells = [_number(row.get(key)) for key in ("steps", "shortest", "evaluations", "tasks")]
        rows.append((cut(str(name)), Strong(share) if index == 0 else share, *cells))
    headings = ("reaches the goal, % (95 % interval)", "steps", "shortest", "model evaluations a task", "tasks")
    return Table("Episodes", (Column("", False), *map(Column, headings)), rows)


def _in_words(found: Mapping[str, object]) -> str:
    lines = []
    for key, words in (("probe_r2", "Linear probe of the state: R²"), ("seconds_per_plan", "seconds a plan")):
        if key in found:
            lines.append(f"{words} {_number(found[key])}")
    for key, words in (("open_loop_error", "error after {} imagined steps"), ("surprise_auroc", "surprise AUROC, {}")):
        values = found.get(key)
        if isinstance(values, dict):
            lines += [
                f"{words.format(cut(str(name), 20))} {_number(value)}" for name, value in list(values.items())[:6]
            ]
    return f"{'; '.join(lines)}." if lines else "Nothing else was measured."


def _number(value: object) -> str:
    """A number, or a dash for what is none."""
    return short(drawable(value)) if isinstance(value, int | float) else "–"


def _percent(value: object) -> str:
    return f"{100 * drawable(value):.1f}" if isinstance(value, int | float) else "–"


def _pictures(folder: Path) -> Iterator[Part]:
    for name, (title, caption) in _PICTURES.items():
        if (folder / name).is_file():
            try:
                yield read_picture(folder / name, title, f"{title}. {caption}", caption)
            except UserError as error:
                yield Words(str(error), warning=True)
