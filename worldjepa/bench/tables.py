"""Results as tables: how numbers are written, where they come from, and one line a result for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import NamedTuple, final

from worldjepa.bench.aggregate import CEILING, ENOUGH, Board, Line, Score, Variant
from worldjepa.bench.record import Record
from worldjepa.bench.standings import Overall, Standing
from worldjepa.bench.tasks import NEVER
from worldjepa.report.table import Cell, Code, Column, Numbered, Strong, Table, Words
from worldjepa.report.text import short

NAMES = {
    "knn": "nearest neighbours",
    "ridge": "ridge regression",
    "logistic": "logistic regression",
    "linear": "linear probe",
    "attentive": "attentive probe",
    "lowshot1": "1 % of the labels",
    "lowshot10": "10 % of the labels",
    "finetune": "fine-tuning",
    "segment": "segmentation",
    "depth": "depth",
    "propagate": "label propagation",
    "plan": "planning",
    "none": "no probe",
}
"""What each probe is called."""


class Origin(NamedTuple):
    """What made a number, and on what."""

    command: str
    commit: str
    device: str
    threads: int
    version: str


@final
class Origins:
    """Everything that made the results, with the number by which tables refer to it."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.numbers: dict[Origin, int] = {}
        for record in records:
            self.numbers.setdefault(_origin(record), len(self.numbers) + 1)

    def of(self, line: Line) -> str:
        """The numbers of what made a line."""
        numbers = sorted({self.numbers[_origin(record)] for record in line.records})
        return ", ".join(map(str, numbers))

    def listed(self) -> Numbered:
        """All of it, in order."""
        entries = [(Code(one.command), _made(one)) for one in self.numbers]
        return Numbered("Made by", entries)


def percent(metric: str) -> bool:
    """Whether a metric is a percentage."""
    return CEILING.get(metric) == 100


def number(value: float, metric: str, sign: bool = False) -> str:
    """A score as tables have it: one digit after the point of a percentage, three of anything else."""
    return decimals(value, 1 if percent(metric) else 3, sign)


def decimals(value: float, digits: int, sign: bool = False) -> str:
    """A number with so many digits after the point; what rounds to 0 has no minus."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"


def score(value: Score, metric: str, sign: bool = False) -> str:
    """A mean with its interval, or without one and the reason."""
    mean = number(value.mean, metric, sign)
    if value.low is not None and value.high is not None:
        return f"{mean} ({number(value.low, metric, sign)} to {number(value.high, metric, sign)})"
    return f"{mean} ({'one seed' if value.seeds == 1 else f'{value.seeds} seeds'})"


def heading(which: Variant, others: Sequence[Variant] = ()) -> str:
    """What a task is called: with its version, and its test examples where the same task comes with several."""
    factor = f", {which.factor}" if which.factor and which.factor not in which.task else ""
    twins = [one for one in others if one != which and (one.task, one.factor) == (which.task, which.factor)]
    examples = f", test examples {which.examples[:8]}" if any(one.version == which.version for one in twins) else ""
    return f"{which.task}{factor} (version {which.version}{examples})"


def board_table(board: Board, origins: Origins) -> Table:
    """One probe on one task: a line a row."""
    metric = board.variant.metric
    better = "" if board.variant.higher_is_better else ", less is better"
    unit = f"{metric}{', %' if percent(metric) else ''}{better}"
    columns = (
        *(Column("", False), Column(unit), Column("over untrained"), Column("normalised")),
        *(Column("seeds"), Column("minutes"), Column("made by", False)),
    )
    rows = [_row(board, line, origins) for line in board.lines]
    return Table(f"{board.variant.task}: {NAMES[board.probe]}", columns, rows)


def shown(board: Board, line: Line) -> str:
    """The score of a line as it is written; chance is known without seeds."""
    metric = board.variant.metric
    return number(line.mean(), metric) if line.row == "chance" else score(line.score(), metric)


def overall_table(found: Overall) -> Table:
    """How everything stands over tasks by one probe."""
    ranked = any(one.rank is not None for one in found.standings)
    columns = [
        Column("", False),
        Column("normalised score"),
        *([Column("mean rank"), Column("points")] if ranked else []),
    ]
    rows = [_standing(one)[: len(columns)] for one in found.standings]
    return Table(f"Over {_tasks(len(found.tasks))}: {NAMES[found.probe]}", columns, rows)


def spread(one: Standing) -> str:
    """A normalised score with its interval."""
    mean, low, high = (decimals(value, 3) for value in (one.mean, one.low, one.high))
    return f"{mean} ({low} to {high})"


def csv_text(records: Sequence[Record]) -> str:
    """One line a result, with every field but the outcomes of single examples; fields with parts are JSON."""
    names = [field.name for field in fields(Record) if field.name not in ("correct", "schema")]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*names, "minutes"])
    for record in records:
        values = (getattr(record, name) for name in names)
        cells = [json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for value in values]
        writer.writerow([*cells, f"{minutes([record]):.4f}"])
    # JSON can hold halves of surrogate pairs, which no file of text can.
    return stream.getvalue().encode(errors="backslashreplace").decode()


def minutes(records: Iterable[Record]) -> float:
    """What the results took together."""
    return sum(sum(record.seconds.values()) for record in records) / 60


def notes(board: Board) -> list[Words]:
    """What a reader must know of a table: rows that are missing, and results that should be equal and are not."""
    gone = board.missing()
    said = [Words(f"Missing for {NAMES[board.probe]}: {', '.join(gone)}.")] if gone else []
    never = NEVER.get(board.variant.metric, {})
    said += [Words(f"There is no row {row}: {why}.") for row, why in never.items()]
    for record, other in board.conflicts:
        first, second = (number(score, board.variant.metric) for score in (record.score, other))
        twice = f"{record.row} with seed {record.seed} was measured twice and came out as {first} and {second}"
        said.append(Words(f"{twice}: the first is shown.", warning=True))
    return said


def seeds_said() -> str:
    """How the numbers in brackets are meant."""
    return (
        f"In brackets: Student's 95 % interval over seeds, from {ENOUGH} seeds on. Normalised: 0 is chance, 1 the best "
        "possible. A seed draws the examples that are learned from, the probe and the untrained weights; the trained weights "
        "are the same with all seeds. Minutes are those of features and probe, of all seeds together."
    )


def _row(board: Board, line: Line, origins: Origins) -> list[Cell]:
    metric = board.variant.metric
    gain = board.gain(line)
    values = board.normalised(line)
    label = board.label(line)
    return [
        Strong(label) if line.row == "trained" else label,
        shown(board, line),
        "" if gain is None else score(gain, metric, sign=True),
        "" if values is None else decimals(float(values.mean()), 3),
        "" if line.row == "chance" else str(len(line.records)),
        short(minutes(line.records), 2),
        origins.of(line),
    ]


def _standing(one: Standing) -> list[Cell]:
    rank = "" if one.rank is None else f"{one.rank:.2f}"
    points = "" if one.borda is None else f"{one.borda:g}"
    return [Strong(one.label) if one.row == "trained" else one.label, spread(one), rank, points]


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _origin(record: Record) -> Origin:
    version = record.versions.get("worldjepa", "unknown")
    return Origin(record.command, record.commit or "unknown", record.device, record.threads, version)


def _made(one: Origin) -> str:
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return f"at commit {one.commit[:12]}, worldjepa {one.version}, on {one.device}, {threads}"
