"""What `worldjepa plan` left in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.report.left import asked_for, interval, left, number, pictures_of, read
from worldjepa.report.page import Part, Section
from worldjepa.report.table import Cell, Column, Strong, Table, Words
from worldjepa.report.text import cut

FILE = "plan.json"
MOST = 6
"""Results that are shown."""
_PICTURES = {
    "episodes.png": ("Episodes", "The way that was gone (blue), the plans on the way (orange) and the goal (green)."),
    "episode.gif": ("An episode", "The longest that reached its goal, step by step."),
}


def plans(folder: Path) -> list[Section]:
    """A section for each result of planning in a run folder or in a folder of it."""
    return [_section(one) for one in left(folder, FILE)[:MOST]]


def _section(folder: Path) -> Section:
    title = f"Planning: {cut(folder.name)}"
    try:
        found = read(folder / FILE)
    except UserError as error:
        return Section(title, [Words(str(error), warning=True)])
    actors = found.get("actors")
    if not isinstance(actors, dict):
        return Section(title, [Words(f"{FILE} tells of no episodes.", warning=True)])
    parts: list[Part] = [_actors(actors), Words(_in_words(found)), *asked_for(found.get("settings"))]
    return Section(title, [*parts, *pictures_of(folder, _PICTURES)])


def _actors(actors: Mapping[str, object]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for index, (name, told) in enumerate(list(actors.items())[:20]):
        row = told if isinstance(told, dict) else {}
        found = row.get("interval")
        ends = found if isinstance(found, list) and len(found) == 2 else [None, None]
        share = interval(row.get("success"), *ends)
        cells = [number(row.get(key)) for key in ("steps", "shortest", "evaluations", "tasks")]
        rows.append((cut(str(name)), Strong(share) if index == 0 else share, *cells))
    headings = ("reaches the goal, % (95 % interval)", "steps", "shortest", "model evaluations a task", "tasks")
    return Table("Episodes", (Column("", False), *map(Column, headings)), rows)


def _in_words(found: Mapping[str, object]) -> str:
    lines = []
    for key, words in (("probe_r2", "Linear probe of the state: R²"), ("seconds_per_plan", "seconds a plan")):
        if key in found:
            lines.append(f"{words} {number(found[key])}")
    for key, words in (("open_loop_error", "error after {} imagined steps"), ("surprise_auroc", "surprise AUROC, {}")):
        values = found.get(key)
        if isinstance(values, dict):
            lines += [f"{words.format(cut(str(name), 20))} {number(value)}" for name, value in list(values.items())[:6]]
    return f"{'; '.join(lines)}." if lines else "Nothing else was measured."
