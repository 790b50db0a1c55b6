"""Results sorted into tables: one a task and probe, with the mean over seeds, and what is missing named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from worldjepa.bench.record import PROBES, Record
from worldjepa.bench.tasks import NEVER
from worldjepa.errors import UserError
from worldjepa.evaluate.statistics import t_interval

ORDER = ("chance", "raw input", "untrained", "trained", "supervised")
"""The rows of every table, from top to bottom."""
CEILING = dict.fromkeys(("top1", "top5", "recall5", "miou", "map", "j_and_f", "success"), 100.0) | {"r2": 1.0}
"""The best that a metric can be. Where less is better, it is 0."""
ENOUGH = 3
"""Seeds that an interval needs."""


class Variant(NamedTuple):
    """What results must have in common to stand in one table: the task, and exactly the same test examples."""

    task: str
    version: int
    examples: str
    factor: str
    metric: str
    higher_is_better: bool
    modality: str


class Score(NamedTuple):
    """A mean over seeds, with Student's 95 % interval where there are enough of them."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


class Conflict(NamedTuple):
    """Two results with the same key, which should be the same number."""

    record: Record
    other: float


@final
@dataclass(frozen=True)
class Line:
    """One row of a table: a model, or what it is compared with, over its seeds."""

    row: str
    models: tuple[str, ...]
    """The model's name; of a baseline, the models in whose folders it is: raw input is the same for all that see the same."""
    records: tuple[Record, ...]
    """One a seed."""

    def scores(self) -> dict[int, float]:
        """The score of each seed."""
        return {record.seed: record.score for record in self.records}

    def score(self) -> Score:
        """The mean over seeds."""
        return over_seeds([*self.scores().values()])

    def mean(self) -> float:
        """The mean over seeds alone."""
        return float(np.mean([*self.scores().values()]))


@final
@dataclass(frozen=True)
class Board:
    """All results of one probe on one task."""

    variant: Variant
    probe: str
    lines: tuple[Line, ...]
    """In the order of `ORDER`."""
    conflicts: tuple[Conflict, ...]

    def of(self, row: str) -> list[Line]:
        """The lines of one kind."""
        return [line for line in self.lines if line.row == row]

    def model(self, name: str) -> Line | None:
        """The line of a model."""
        return next((line for line in self.of("trained") if line.models == (name,)), None)

    def untrained(self, line: Line) -> Line | None:
        """The untrained encoder that a model began as."""
        found = [one for one in self.of("untrained") if set(line.models) <= set(one.models)]
        return found[0] if line.row == "trained" and found else None

    def label(self, line: Line) -> str:
        """What a line is called: a baseline tells whose it is where there are several."""
        if line.row == "trained":
            return line.models[0]
        alone = len(self.of(line.row)) == 1
        return line.row if alone else f"{line.row} ({', '.join(line.models)})"

    def missing(self) -> list[str]:
        """The rows that should be there and are not."""
        never = NEVER.get(self.variant.metric, {})
        gone = [row for row in ORDER if row not in ("trained", "untrained", *never) and not self.of(row)]
        models = self.of("trained")
        without = [line.models[0] for line in models if self.untrained(line) is None]
        if without and not self.of("untrained"):
            gone.append("untrained")
        elif without:
            gone += [f"untrained ({name})" for name in without]
        return [*gone, *([] if models else ["a trained model"])]

    def normalised(self, line: Line) -> NDArray[np.float64] | None:
        """For each seed, how far a line came from chance, 0, to the best possible, 1; None where one of the two is unknown."""
        best = CEILING.get(self.variant.metric) if self.variant.higher_is_better else 0.0
        chance = self.of("chance")
        if best is None or len(chance) != 1 or chance[0].mean() == best:
            return None
        floor = chance[0].mean()
        return (np.array([*line.scores().values()]) - floor) / (best - floor)

    def gain(self, line: Line) -> Score | None:
        """How much better a model is than the untrained encoder, more is better.

        Seed by seed where both have the same ones; else, as where a probe without randomness was asked once of the model, by
        the means and without an interval.
        """
        other = self.untrained(line)
        if other is None:
            return None
        ours, theirs = line.scores(), other.scores()
        sign = 1 if self.variant.higher_is_better else -1
        if ours.keys() != theirs.keys():
            return Score(sign * (line.mean() - other.mean()), None, None, min(len(ours), len(theirs)))
        return over_seeds([sign * (ours[seed] - theirs[seed]) for seed in sorted(ours)])


def over_seeds(values: Sequence[float]) -> Score:
    """The mean over seeds, with an interval if there are enough of them."""
    if len(values) < ENOUGH:
        return Score(float(np.mean(values)), None, None, len(values))
    return Score(*t_interval(values), len(values))


def boards(records: Iterable[Record]) -> list[Board]:
    """The results sorted into tables, by task and by probe.

    Raises:
        UserError: a model has two results for the same seed that are not the same measurement.
    """
    found: dict[Variant, list[Record]] = defaultdict(list)
    for record in records:
        found[variant(record)].append(record)
    tables = []
    for which in sorted(found):
        here = found[which]
        probes = {record.probe for record in here if not _everywhere(record)} or {record.probe for record in here}
        tables += [_board(which, probe, here) for probe in sorted(probes, key=PROBES.index)]
    return tables


def variant(record: Record) -> Variant:
    """What a result can stand beside."""
    return Variant(
        *(record.task, record.version, record.examples, record.factor or "", record.metric),
        *(record.higher_is_better, record.modality),
    )


def _everywhere(record: Record) -> bool:
    """Whether a result stands in the table of every probe: chance has none, and a supervised model is not probed."""
    return record.probe == "none" or record.row == "supervised"


def _board(which: Variant, probe: str, records: Sequence[Record]) -> Board:
    here = [record for record in records if record.probe == probe or _everywhere(record)]
    lines: list[Line] = []
    conflicts: list[Conflict] = []
    for row in ORDER:
        mine = [record for record in here if record.row == row]
        for group in _grouped(mine, row):
            seeds, clashes = _by_seed(group.records)
            lines.append(Line(row, tuple(sorted(group.models)), seeds))
            conflicts += clashes
    return Board(which, probe, tuple(lines), tuple(conflicts))


@dataclass
class _Group:
    models: set[str]
    identities: set[str]
    records: list[Record]


def _grouped(records: Sequence[Record], row: str) -> list[_Group]:
    """The results of one kind by model; baselines of several models that are the same measurement are one."""
    by_model: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_model[record.model, record.probe].append(record)
    groups: list[_Group] = []
    for (model, _), mine in sorted(by_model.items()):
        identities = {_identity(record) for record in mine}
        same = next((group for group in groups if row != "trained" and group.identities & identities), None)
        if same is None:
            groups.append(_Group({model}, identities, mine))
        else:
            same.models.add(model)
            same.identities |= identities
            same.records += mine
    return groups


def _identity(record: Record) -> str:
    """What is equal where two results are the same measurement: chance belongs to the task alone."""
    return str(record.score) if record.row == "chance" else record.key


def _by_seed(records: Sequence[Record]) -> tuple[tuple[Record, ...], list[Conflict]]:
    seeds: dict[int, Record] = {}
    conflicts = []
    for record in records:
        first = seeds.setdefault(record.seed, record)
        if _identity(first) != _identity(record):
            raise UserError(
                f"two results of '{record.model}' ({record.row}) on {record.task} by {record.probe} with seed "
                f"{record.seed} are not of the same measurement: their keys are {first.key[:12]} and {record.key[:12]}; "
                "report one folder at a time, or give one of the models another name"
            )
        if first.score != record.score:
            conflicts.append(Conflict(first, record.score))
    return tuple(seeds[seed] for seed in sorted(seeds)), conflicts
