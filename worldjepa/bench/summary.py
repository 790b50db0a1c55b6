"""What `worldjepa bench` prints: tables of suites and tasks, lines of results, and a table for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from worldjepa.bench.record import PROBES, ROWS, Record
from worldjepa.bench.tasks import UNITS, Suite, Task
from worldjepa.evaluate.statistics import t_interval


def suite_table(suites: Mapping[str, Suite]) -> Table:
    """The suites."""
    table = Table("suite", "tasks", "what it is", box=None, pad_edge=False)
    for suite in suites.values():
        table.add_row(suite.name, str(len(suite.tasks)), suite.about)
    return _folding(table)


def task_table(tasks: Mapping[str, Task]) -> Table:
    """The tasks, those of a modality together."""
    table = Table("modality", "task", "metric", "needs", "what it is", box=None, pad_edge=False)
    for task in sorted(tasks.values(), key=lambda one: (one.modality, one.name)):
        needs = f"root.{task.folder}" if task.folder else ""
        table.add_row(task.modality, task.name, task.metric, needs, task.about)
    return _folding(table)


def about_suite(suite: Suite, tasks: Mapping[str, Task]) -> str:
    """All about a suite."""
    most = ", ".join(f"{name} {'all' if value is None else value}" for name, value in vars(suite.most).items())
    lines = [f"{suite.name}: {suite.about}", f"examples at most: {most}"]
    if suite.probes is not None:
        lines.append(f"probes: {', '.join(suite.probes)}")
    if suite.along:
        lines.append("measures every saved checkpoint of a run, beside what its training had cost by then")
    if suite.supervised is not None:
        lines.append("supervised ceiling: " + ", ".join(f"{k} {v:g}" for k, v in suite.supervised._asdict().items()))
    lines += [f"  {name}: {tasks[name].about if name in tasks else 'there is no such task'}" for name in suite.tasks]
    return "\n".join(lines)


def about_task(task: Task) -> str:
    """All about a task."""
    lines = [f"{task.name}: {task.about}", f"modality {task.modality}, data {task.data}, version {task.version}"]
    asked = f"factor {task.factor}, " if task.factor else ""
    lines.append(f"{asked}metric {task.metric}, probes {', '.join(task.probes)}")
    if task.folds:
        lines.append(f"{task.folds} folds, each for testing once")
    if task.folder:
        lines.append(f"needs data: root.{task.folder}=PATH, or $WORLDJEPA_DATA/{task.folder}; {task.layout}")
    lines += [f"{name}: {text}" for name, text in (("licence", task.licence), ("source", task.source)) if text]
    return "\n".join(lines)


def line_of(record: Record, place: str) -> str:
    """One result as a line."""
    took = f"{sum(record.seconds.values()):.1f} s"
    what = f"{record.row}, {record.probe}, seed {record.seed}"
    return f"{place} {record.task}: {what}: {shown(record.score, record.metric)} ({took})"


def shown(score: float, metric: str) -> str:
    """A score with as many digits as mean something."""
    return f"{score:.3f}" if metric in ("r2", "rmse") else f"{score:.1f}"


def results_table(records: Sequence[Record]) -> Table:
    """The results of one model on one task: the mean over seeds, with Student's 95 % interval from three on."""
    first = records[0]
    unit = UNITS.get(first.metric, first.metric)
    table = Table(title=f"{first.model}: {first.task} ({first.factor or first.metric}, {unit})")
    columns = [one for one in PROBES if one != "none" and any(r.probe == one for r in records if _apart(r))]
    table.add_column("representation", no_wrap=True)
    for one in columns or [""]:
        table.add_column(one, justify="right")
    for row in ROWS:
        mine = [one for one in records if one.row == row]
        if mine and not _apart(mine[0]):  # what has no probe of its own stands in every column
            table.add_row(row, *[_cell(mine)] * max(1, len(columns)))
        elif mine:
            table.add_row(row, *(_cell([one for one in mine if one.probe == column]) for column in columns))
    return table


def _apart(record: Record) -> bool:
    return record.row not in ("chance", "supervised")


def _cell(records: Sequence[Record]) -> str:
    if not records:
        return ""
    scores = [one.score for one in records]
    mean = shown(sum(scores) / len(scores), records[0].metric)
    if len(scores) < 3:
        return mean
    interval = t_interval(scores)
    return f"{mean} ± {shown(interval.high - interval.mean, records[0].metric)}"


def _folding(table: Table) -> Table:
    for column in table.columns:
        column.overflow = "fold"
    return table
