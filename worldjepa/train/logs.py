"""Where numbers go: metrics.csv and metrics.jsonl always; TensorBoard, W&B and trackio if wanted; a bar or lines on screen."""

from __future__ import annotations

import csv
import datetime
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from worldjepa.errors import UserError
from worldjepa.train.settings import RunSettings


class Logger(Protocol):
    """Receives one row of named numbers per call."""

    def write(self, step: int, row: dict[str, float]) -> None:
        """Record a row that belongs to `step`."""

    def cut(self, step: int) -> None:
        """Forget what was written about steps beyond this one: they come again."""

    def close(self) -> None:
        """Flush and let go."""


class JsonLines:
    """One JSON object a line: `{"step": …, name: value, …}`; numbers that are not finite become null."""

    def __init__(self, file: Path) -> None:
        self.stream = file.open("a")

    def write(self, step: int, row: dict[str, float]) -> None:
        """Append one line."""
        values = {name: value if math.isfinite(value) else None for name, value in row.items()}
        self.stream.write(json.dumps({"step": step, **values}) + "\n")
        self.stream.flush()

    def cut(self, step: int) -> None:
        """Drop the lines."""
        file = Path(self.stream.name)
        self.stream.close()
        _cut_lines(file, step)
        self.stream = file.open("a")

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


class Csv:
    """A table with one column per name; the file is laid out anew when a new name appears."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.columns = ["step"]
        if file.exists():
            with file.open(newline="") as stream:
                self.columns = next(csv.reader(stream), self.columns)

    def write(self, step: int, row: dict[str, float]) -> None:
        """Append one row."""
        values: dict[str, float | str] = {"step": step, **row}
        new = [name for name in values if name not in self.columns]
        if new:
            self._widen(new)
        fresh = not self.file.exists()
        with self.file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, self.columns, restval="")
            if fresh:
                writer.writeheader()
            writer.writerow(values)

    def _widen(self, new: list[str]) -> None:
        rows = []
        if self.file.exists():
            with self.file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
        self.columns += new
        _write_table(self.file, self.columns, rows)

    def cut(self, step: int) -> None:
        """Drop the rows."""
        _cut_table(self.file, step)

    def close(self) -> None:
        """Nothing is held open."""


class TensorBoard:
    """TensorBoard event files in the run folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def write(self, step: int, row: dict[str, float]) -> None:
        """Add a scalar for every name."""
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)

    def cut(self, step: int) -> None:
        """TensorBoard itself shows the later one of two values of a step."""

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class Tracker:
    """W&B, or trackio, which speaks the same interface."""

    def __init__(self, package: str, project: str, folder: Path, config: dict[str, Any]) -> None:
        module = importlib.import_module(package)
        options = {"dir": str(folder)} if package == "wandb" else {}
        self.run = module.init(project=project, name=folder.name, config=config, **options)

    def write(self, step: int, row: dict[str, float]) -> None:
        """Log the row."""
        self.run.log(row, step=step)

    def cut(self, step: int) -> None:
        """The service keeps what it has; it refuses steps that it has already."""

    def close(self) -> None:
        """Finish the remote run."""
        self.run.finish()


def open_loggers(run: RunSettings, folder: Path, config: dict[str, Any]) -> list[Logger]:
    """The loggers that the settings ask for; `check_loggers` has made sure that they can be had."""
    loggers: list[Logger] = [JsonLines(folder / "metrics.jsonl"), Csv(folder / "metrics.csv")]
    if run.tensorboard or (run.tensorboard is None and importlib.util.find_spec("tensorboard") is not None):
        loggers.append(TensorBoard(folder))
    loggers += [
        Tracker(package, run.project, folder, config)
        for package, wanted in (("wandb", run.wandb), ("trackio", run.trackio))
        if wanted
    ]
    return loggers


def check_loggers(run: RunSettings) -> None:
    """Make sure that every logger asked for is installed.

    Raises:
        UserError: one is not.
    """
    for package, wanted in (("tensorboard", run.tensorboard), ("wandb", run.wandb), ("trackio", run.trackio)):
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(f"run.{package}=true needs the package {package}: pip install 'worldjepa[{package}]'")


def cut_after(folder: Path, step: int) -> None:
    """Drop rows of `metrics.*` that the run will write again: all beyond `step` optimiser steps, all if it starts anew.

    Rows that were cut short when the run was interrupted go too.
    """
    lines, table = folder / "metrics.jsonl", folder / "metrics.csv"
    if step == 0:
        lines.unlink(missing_ok=True)
        table.unlink(missing_ok=True)
    _cut_lines(lines, step)
    _cut_table(table, step)


def _cut_lines(lines: Path, step: int) -> None:
    if lines.exists():
        kept = [line for line in lines.read_text().splitlines() if _whole(line) and json.loads(line)["step"] <= step]
        aside = lines.with_name(f".{lines.name}")
        aside.write_text("".join(line + "\n" for line in kept))
        aside.replace(lines)


def _cut_table(table: Path, step: int) -> None:
    if table.exists():
        with table.open(newline="") as stream:
            reader = csv.DictReader(stream)
            # A row that was cut short lacks cells, which the reader fills with None.
            rows = [row for row in reader if None not in row.values() and int(row["step"]) <= step]
            columns = reader.fieldnames or ["step"]
        _write_table(table, columns, rows)


def _write_table(table: Path, columns: Sequence[str], rows: list[dict[str, str]]) -> None:
    """Write aside and rename, so that whoever is killed here loses nothing."""
    aside = table.with_name(f".{table.name}")
    with aside.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    aside.replace(table)


def _whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


def screen_console() -> Console:
    """Standard output; where it is no terminal, wide enough for a table of scores."""
    return Console(width=None if sys.stdout.isatty() else 120)


EVENTS = "events.jsonl"


class Events:
    """What happened besides steps: told to the user, and one JSON object a line in `events.jsonl`.

    Args:
        file: where to write.
        screen: where to tell it.
        leads: whether this process writes.
    """

    def __init__(self, file: Path, screen: Screen, leads: bool) -> None:
        self.file = file
        self.screen = screen
        self.leads = leads

    def tell(self, step: int, kind: str, what: str, everywhere: bool = False) -> None:
        """Say it and write it down.

        Args:
            step: steps taken so far.
            kind: a word to search for.
            what: a sentence.
            everywhere: other processes than the first say it too.
        """
        if self.leads:
            self.note(step, kind, what)
            self.screen.say(what)
        elif everywhere:
            print(what, file=sys.stderr, flush=True)

    def note(self, step: int, kind: str, what: str) -> None:
        """Write it down only, since it is told elsewhere; see `tell`."""
        if self.leads:
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with self.file.open("a") as stream:
                stream.write(json.dumps({"step": step, "time": now, "event": kind, "what": what}) + "\n")


class Screen:
    """A progress bar on a terminal, a line per report elsewhere; silent on every process but the first."""

    def __init__(self, steps: int, first: int, console: Console, enabled: bool) -> None:
        self.steps = steps
        self.console = console
        self.enabled = enabled
        self.bar: Progress | None = None
        if enabled and console.is_terminal:
            self.bar = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self.task = self.bar.add_task("train", total=steps, completed=first, numbers="")
            self.bar.start()

    def advance(self) -> None:
        """One step was taken."""
        if self.bar is not None:
            self.bar.advance(self.task)

    def rewind(self, step: int) -> None:
        """The run went back to this step."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def report(self, step: int, row: dict[str, float], left: float) -> None:
        """Show the numbers of a report; `left` is the estimated time to the end in seconds."""
        if not self.enabled:
            return
        numbers = (
            f"loss {row['train/loss']:.4f}  lr {row['train/lr']:.2e}  {row['perf/samples_per_s']:.0f}/s  "
            f"data {row['time/data_percent']:.0f}%  {row['system/memory_gb']:.1f} GB"
        )
        if self.bar is not None:
            self.bar.update(self.task, numbers=numbers)
        else:
            eta = datetime.timedelta(seconds=round(left))
            self.console.print(f"step {step}/{self.steps}  {numbers}  left {eta}", highlight=False, soft_wrap=True)

    def say(self, *lines: Any) -> None:
        """Print above the bar."""
        if self.enabled:
            for line in lines:
                # A path or a message may hold what Rich would take for its markup.
                self.console.print(line, highlight=False, markup=False, soft_wrap=isinstance(line, str))

    def close(self) -> None:
        """Stop the bar."""
        if self.bar is not None:
            self.bar.stop()


def write_all(loggers: Iterable[Logger], step: int, row: dict[str, float]) -> None:
    """Hand a row to every logger."""
    for logger in loggers:
        logger.write(step, row)
