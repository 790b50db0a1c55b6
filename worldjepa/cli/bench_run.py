"""`worldjepa bench run`: from words to models, tasks and results."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldjepa.bench.record import ROWS
from worldjepa.cli.arguments import parse
from worldjepa.cli.own import OPENING, ask, place, sort, whole
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

if TYPE_CHECKING:
    from worldjepa.bench.tasks import Suite, Task

_OWN = (*OPENING, "suite", "name", "seeds", "out", "tasks", "probes", "rows", "missing")
MISSING = ("refuse", "skip")
ALONE = ("plan", "segment", "depth", "propagate")
"""Probes that tasks have in place of all others, whatever probes a suite names."""


def run(words: Sequence[str]) -> int:
    """Measure the models that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, a model or the data of a task cannot be had.
    """
    arguments = parse(words)
    own, passed = sort("bench run", arguments.words, _OWN, ("run", "root"), needed=("suite", "checkpoint"))
    for folder in arguments.config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    checkpoints = listed(own["checkpoint"])
    for one in checkpoints:
        place({"checkpoint": one})
    rows = _rows(own.get("rows"))
    missing = own.get("missing", MISSING[0])
    if missing not in MISSING:
        raise unknown("missing", missing, MISSING)
    seeds = whole(own, "seeds") or 3
    out = Path(own.get("out") or "bench").expanduser()
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    from worldjepa.cli.bench_options import read_suites, read_tasks

    tasks, suites = read_tasks(arguments.config_dirs), read_suites(arguments.config_dirs)
    if own["suite"] not in suites:
        raise unknown("suite", own["suite"], suites)
    suite = suites[own["suite"]]
    chosen = chosen_tasks(suite, tasks, own.get("tasks"))
    probes = chosen_probes(suite, chosen, own.get("probes"))
    from worldjepa.cli.bench_running import Wanted, measure

    wanted = Wanted(
        suite=suite,
        tasks=chosen,
        probes=probes,
        rows=rows,
        seeds=seeds,
        out=out,
        skip=missing == "skip",
        roots={word.partition("=")[0].removeprefix("root."): word.partition("=")[2] for word in passed if _root(word)},
        words=[word for word in passed if not _root(word)],
        config_dirs=arguments.config_dirs,
        command=f"worldjepa bench run {shlex.join(words)}",
    )
    return measure(checkpoints, listed(own.get("name", "")), ask(own), wanted)


def listed(text: str) -> list[str]:
    """The parts of `A,B` or `[A,B]`."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [part.strip() for part in inner.split(",") if part.strip()]


def chosen_tasks(suite: Suite, tasks: dict[str, Task], given: str | None) -> list[Task]:
    """The tasks of a suite, or those of them that were asked for.

    Raises:
        UserError: there is no such task, or the suite has not.
    """
    for name in suite.tasks:
        if name not in tasks:
            raise unknown(f"task of suite {suite.name}", name, tasks)
    names = listed(given) if given else list(suite.tasks)
    for name in names:
        if name not in suite.tasks:
            raise unknown(f"task of suite {suite.name}", name, suite.tasks)
    return [tasks[name] for name in suite.tasks if name in names]


def chosen_probes(suite: Suite, tasks: Sequence[Task], given: str | None) -> list[str]:
    """The probes that are asked for, or those of the suite.

    Raises:
        UserError: no task has such a probe.
    """
    there = list(dict.fromkeys(probe for task in tasks for probe in task.probes))
    usual = [probe for probe in there if suite.probes is None or probe in (*suite.probes, *ALONE)]
    names = listed(given) if given else usual
    for name in names:
        if name not in there:
            raise unknown("probe", name, there)
    return names


def _rows(given: str | None) -> list[str]:
    """The rows that are asked for, in their order.

    Raises:
        UserError: there is no such row.
    """
    short = {row.partition(" ")[0]: row for row in ROWS}
    names = [short.get(name, re.sub("_", " ", name)) for name in listed(given)] if given else list(ROWS)
    for name in names:
        if name not in ROWS:
            raise unknown("row", name, short)
    return [row for row in ROWS if row in names]


def _root(word: str) -> bool:
    return word.startswith("root.")
