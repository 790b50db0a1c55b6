"""What is to be found out, one result at a time: reused where it is known already, and written at once where it is not."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from worldjepa.bench.memory import peak_mb, reset_peak
from worldjepa.bench.record import Record, pack, read
from worldjepa.bench.tasks import NEVER, PROBES, Suite, Task
from worldjepa.errors import UserError

VERSION = 1
"""Changes when the same question would get another answer, whatever the probe."""
PACKAGES = ("worldjepa", "torch", "numpy", "timm")
CHANCE = "none"


class Spec(NamedTuple):
    """Which result."""

    task: Task
    row: str
    probe: str
    seed: int


class Found(NamedTuple):
    """What came of it."""

    score: float
    scores: dict[str, float]
    chosen: dict[str, float | int | str]
    counts: tuple[int, int, int]
    """Examples for learning (of several rounds the mean), choosing and testing."""
    unreadable: int
    outcome: Tensor | None
    """Of each test example: right or wrong, or a number; the mean is the score. None where there is no such thing."""
    examples: str
    features: float
    """Seconds until features were there."""


class Job(NamedTuple):
    """A result that can be found out."""

    spec: Spec
    facts: Mapping[str, Any]
    """All that decides the number."""
    head: Mapping[str, Any]
    """Fields of the record that are known beforehand."""
    work: Callable[[], Found]

    @property
    def key(self) -> str:
        """SHA-256 of the facts."""
        text = json.dumps({"version": VERSION, **self.facts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Circumstances(NamedTuple):
    """What results are found under."""

    versions: dict[str, str]
    commit: str | None
    device: str
    threads: int
    command: str


class Tally:
    """What became of the results."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.reused = self.computed = self.replaced = 0


def specs(task: Task, suite: Suite, rows: Sequence[str], probes: Sequence[str] | None, seeds: int) -> list[Spec]:
    """The results of a task, those of one row and seed together.

    What does not depend on the seed is found out once: chance, and the answers of probes without randomness where a suite's
    seeds all learn from the same examples.
    """
    wanted = [one for one in task.probes if probes is None or one in probes]
    found = []
    for row in rows:
        if row in NEVER.get(task.metric, {}):
            continue
        if row in ("chance", "supervised"):
            budget = suite.supervised
            count = 1 if row == "chance" or task.metric == "success" else min(seeds, budget.seeds if budget else 0)
            probe = CHANCE if row == "chance" else "finetune"
            found += [Spec(task, row, probe, seed) for seed in range(count)]
            continue
        for seed in range(seeds):
            for probe in wanted:
                if probe == "finetune" and task.metric == "top1" and row != "trained":
                    continue  # from random weights it is the supervised row, and raw input has none
                if row == "raw input" and probe == "attentive":
                    continue
                if seed == 0 or row == "untrained" or is_random(probe, suite):
                    found.append(Spec(task, row, probe, seed))
    return found


def is_random(probe: str, suite: Suite) -> bool:
    """Whether the answer of a probe depends on its seed, by itself or by the examples that the seed draws."""
    from worldjepa.bench.probes import CLASSES

    if probe == "propagate":  # learns nothing, and so from no share of anything
        return False
    return (
        suite.share < 1
        or probe in ("finetune", "plan", "segment", "depth")
        or (probe in CLASSES and CLASSES[probe].random)
    )


def known_results(out: Path, note: Callable[[str], object]) -> dict[str, Record]:
    """All results below a folder, by their keys; files that are none are named and left alone."""
    found = {}
    for file in sorted(out.rglob("*.json")) if out.is_dir() else []:
        if file.name.startswith("."):
            continue
        try:
            one = read(file)
        except UserError as error:
            note(f"not reused: {error}")
            continue
        found[one.key] = one
    return found


def carry_out(
    jobs: Iterable[Job],
    out: Path,
    known: dict[str, Record],
    circumstances: Circumstances,
    tell: Callable[[Record], object],
) -> Tally:
    """Find out all results, each written to its file before the next is begun.

    Args:
        jobs: what is to be found out.
        out: the folder of results.
        known: results by their keys; what is found out is added.
        circumstances: of the computation.
        tell: is told each result that was computed.

    Raises:
        Unsaved: the disk does not take a result.
    """
    tally = Tally()
    for job in jobs:
        key = job.key
        held = known.get(key)
        if held is not None:
            record = dataclasses.replace(held, **job.head)
            if not (out / record.place).exists() or _differs(out / record.place, record):
                record.write(out)
            tally.reused += 1
        else:
            record = _computed(job, key, circumstances)
            tally.replaced += (out / record.place).exists()
            record.write(out)
            known[key] = record
            tally.computed += 1
            tell(record)
        tally.records.append(record)
    return tally


def _differs(file: Path, record: Record) -> bool:
    """Whether a file holds another result, or none that can be read."""
    try:
        return vars(read(file)) != vars(record)
    except UserError:  # it was named when results were collected, and is written anew
        return True


def _computed(job: Job, key: str, circumstances: Circumstances) -> Record:
    reset_peak()
    began = time.perf_counter()
    found = job.work()
    seconds = time.perf_counter() - began
    train, val, test = found.counts
    return Record(
        key=key,
        score=found.score,
        scores=found.scores,
        chosen=found.chosen,
        train=train,
        val=val,
        test=test,
        unreadable=found.unreadable,
        correct=None if found.outcome is None else pack(found.outcome),
        examples=found.examples,
        seconds={"features": round(found.features, 3), "probe": round(max(0.0, seconds - found.features), 3)},
        memory_mb=round(peak_mb(), 1),
        **circumstances._asdict(),
        **job.head,
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers come from."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def check_probes(task: Task) -> None:
    """Refuse probes that there are not for the metric of a task.

    Raises:
        UserError: names the probe.
    """
    for probe in task.probes:
        if probe not in PROBES[task.metric]:
            raise UserError(
                f"task {task.name}: there is no probe '{probe}' for metric {task.metric}; "
                f"allowed: {', '.join(PROBES[task.metric])}"
            )
