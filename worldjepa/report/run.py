"""The report of a run, or of several side by side: one page, made from run folders."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.report.course import Course, course, happenings
from worldjepa.report.curves import Runs, curves
from worldjepa.report.files import write
from worldjepa.report.folder import Run, read_run
from worldjepa.report.imagined import imagined
from worldjepa.report.log import parsed
from worldjepa.report.numbers import compared, courses, main_number, scores_table
from worldjepa.report.page import Fold, Page, Part, Section
from worldjepa.report.picture import MOST_BYTES, Picture, read_picture
from worldjepa.report.plans import plans
from worldjepa.report.setup import differences, setup, what
from worldjepa.report.table import Words
from worldjepa.report.text import capital, cut, said

NAME = "report.html"
MOST_PICTURES = 4 * MOST_BYTES
"""Bytes of all pictures of a run."""


def write_report(folder: Path) -> Path:
    """Write the report of a run that has come to its end, or to an end, into its folder.

    Raises:
        Unsaved: the disk does not take it.
    """
    file = folder / NAME
    write(file, report([folder]).html())
    return file


def report(folders: Sequence[Path], running: Collection[Path] = ()) -> Page:
    """The page of one run, or of several side by side.

    Args:
        folders: of the runs.
        running: those of them that a process is writing to.
    """
    runs = dict(zip(labels(folders), map(read_run, folders), strict=True))
    found = {label: course(run, run.path in running) for label, run in runs.items()}
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    foot = f"Made {now} by worldjepa {importlib.metadata.version('worldjepa')}"
    if len(runs) == 1:
        ((label, run),) = runs.items()
        return _single(label, run, found[label], f"{foot} from {run.path}.")
    return _several(runs, found, f"{foot}.")


def labels(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its last parts, as many as it takes to tell all apart."""
    paths = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("the same folder twice")


def pictures(folder: Path) -> list[Part]:
    """Every picture in `RUN/pictures`, with the words that a JSON file of the same name says of it.

    `NAME.json` beside `NAME.png` may say `title`, `caption` and `command`. What cannot be shown is said in its place.
    """
    parts: list[Part] = []
    left = MOST_PICTURES
    for file in _picture_files(folder):
        try:
            picture = _picture(file)
        except UserError as error:
            parts.append(Words(str(error), warning=True))
            continue
        if len(picture.data) > left:
            parts.append(Words(f"{file.name} is left out: the pictures have more than {MOST_PICTURES:,} bytes."))
            continue
        left -= len(picture.data)
        parts.append(picture)
    return parts


def _picture_files(folder: Path) -> list[Path]:
    return sorted(file for kind in ("png", "gif") for file in (folder / "pictures").glob(f"*.{kind}"))


def _picture(file: Path) -> Picture:
    """A picture with its words.

    Raises:
        UserError: it cannot be read or shown.
    """
    words = _words(file.with_suffix(".json"))
    title = words.get("title") or file.stem.replace("_", " ")
    caption = words.get("caption", "")
    return read_picture(file, title, f"{title}. {caption}", caption, words.get("command", ""))


def _words(file: Path) -> dict[str, str]:
    """What a file says of a picture; nothing if there is none.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        found = parsed(file.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"the words of a picture, {file}, cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"the words of a picture, {file}, are no JSON object")
    return {str(name): cut(str(value), 2_000) for name, value in found.items()}


def _single(label: str, run: Run, went: Course, foot: str) -> Page:
    number = main_number(run)
    table = scores_table(run)
    result: list[Part] = [*_notes(run), *([Words(number)] if number else []), *([table] if table is not None else [])]
    sections = [
        Section("Result", [_told(went), *result]),
        *curves({label: run}),
        Section("Pictures", pictures(run.path)),
        *imagined(run.path),
        *plans(run.path),
        Section("What happened", happenings(run)),
        Section("What it was", setup(run)),
    ]
    return Page(f"Run {label}", what(run), [one for one in sections if one.parts], foot)


def _several(runs: Runs, found: Mapping[str, Course], foot: str) -> Page:
    numbers = compared(runs)
    sections = [
        Section("Results", [courses(found), *([numbers] if numbers is not None else [])]),
        Section("Differences", differences(runs)),
        *curves(runs),
        *(Section(f"Run {label}", list(_one_of_many(run, found[label]))) for label, run in runs.items()),
    ]
    return Page(f"{said(len(runs), 'run')} side by side", f"{', '.join(runs)}.", sections, foot)


def _one_of_many(run: Run, went: Course) -> Iterator[Part]:
    lead = what(run)
    if lead:
        yield Words(lead)
    yield _told(went)
    number = main_number(run)
    if number:
        yield Words(number)
    yield from _notes(run)
    shown = pictures(run.path)
    if shown:
        yield Fold("Pictures", shown)
    for section in imagined(run.path):
        yield Fold(section.title, section.parts)
    for title, parts in (("What happened", happenings(run)), ("What it was", setup(run))):
        if parts:
            yield Fold(title, parts)


def _told(went: Course) -> Words:
    return Words(went.said, warning=went.state in ("interrupted", "failed", "killed"))


def _notes(run: Run) -> Iterator[Words]:
    """Alarms that a reader must not miss, and what is missing."""
    alarms = [event.what for event in run.events if event.kind == "collapse"]
    if alarms:
        yield Words(capital(cut(alarms[-1], 400)), warning=True)
    if run.notes:
        yield Words(f"Missing or damaged in {run.path.name}: {'; '.join(run.notes)}.", warning=True)
