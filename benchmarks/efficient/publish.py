"""Tables in a file: with the command that made them, the commit, the machine and the minutes."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.efficient.frozen import SPENT
from worldjepa.report.files import replaced, write
from worldjepa.report.markdown import code, escaped, tabulated
from worldjepa.report.table import Column
from worldjepa.report.table import Table as Tabular

KIND = "made"
"""Of the marks in a file: `<!-- made:NAME -->`."""
PUBLISHING = ("--into", "--name", "--table", "--picture", "--peers", "--out")
"""Options that say nothing of what is measured; each but `--table` has a value."""


class Origin(NamedTuple):
    """What runs say of where they were made."""

    commits: list[str]
    machines: list[str]
    minutes: float | None
    """Processor minutes of all of them together, as far as each says what it took; None if none does."""
    untold: int
    """How many do not: those that were interrupted and went on."""


def origin(folders: Iterable[Path]) -> Origin:
    """What runs of ours say of where they were made, and what they took."""
    commits, machines, spent, untold = set[str](), set[str](), list[float](), 0
    for folder in sorted({*folders}):
        file = folder / "environment.json"
        if not file.exists():
            continue
        told = json.loads(file.read_text())
        commits.add((told.get("git") or "no commit")[:7])
        gpus = [f"GPU {device['name']}" for device in told.get("devices", [])]
        name = processor() if told["platform"] == platform.platform() else told["platform"]  # runs do not tell it
        machine = [f"{told['processors']} processors ({name})", f"{told['threads']} thread(s) a run", *gpus]
        machines.add(", ".join([*machine, f"torch {told['versions']['torch']}"]))
        if (folder / SPENT).exists():
            spent.append(json.loads((folder / SPENT).read_text()))
        else:
            untold += 1
    return Origin(sorted(commits), sorted(machines), sum(spent) / 60 if spent else None, untold)


def minutes_of(folders: Iterable[Path]) -> str:
    """Processor minutes of some runs together; empty unless each says what it took."""
    files = [folder / SPENT for folder in folders]
    if not files or not all(file.exists() for file in files):
        return ""
    return f"{sum(json.loads(file.read_text()) for file in files) / 60:.1f}"


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def command(module: str, words: Sequence[str]) -> str:
    """The command that makes the same, without where it was kept and what was shown."""
    kept, left = [], list(words)
    while left:
        word = left.pop(0)
        if word.partition("=")[0] not in PUBLISHING:
            kept.append(word)
        elif word == "--peers":
            kept += [word, "peers/bin/python"]
            left.pop(0)
        elif word != "--table" and "=" not in word:
            left.pop(0)
    return shlex.join(["python", "-m", module, *kept])


def check(file: Path | None, name: str) -> None:
    """See that a file has a place for a table, before hours are spent on it.

    Raises:
        UserError: it has not.
    """
    if file is not None:
        replaced(file, KIND, name, "")


def publish(file: Path, name: str, module: str, tables: Sequence[Table], folders: Iterable[Path]) -> None:
    """Write tables between the lines `<!-- made:NAME -->` and `<!-- /made:NAME -->` of a file.

    Raises:
        UserError: the file does not have them.
        Unsaved: the disk does not take it.
    """
    found = origin(folders)
    minutes = "" if found.minutes is None else f"; {found.minutes:.0f} processor minutes of training"
    if found.minutes is not None and found.untold:
        minutes += f" ({found.untold} interrupted run(s) not counted)"
    lead = (
        f"{code(command(module, sys.argv[1:]))}, commit {', '.join(found.commits)}, {'; '.join(found.machines)}{minutes}; "
        f"written {datetime.date.today().isoformat()}."
    )
    write(file, replaced(file, KIND, name, "\n\n".join([lead, *map(markdown, tables)])))


def markdown(table: Table) -> str:
    """A table as Markdown below its title; all of its columns but the first hold numbers."""
    headings = [str(column.header) for column in table.columns]
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    columns = [Column(heading, numeric=place > 0) for place, heading in enumerate(headings)]
    shown = Tabular(str(table.title), columns, list(rows))
    return f"**{escaped(shown.title)}**\n\n{tabulated(shown)}"


def show(tables: Sequence[Table], width: int) -> None:
    """Print tables."""
    console = Console(width=width)
    for table in tables:
        console.print(table)
