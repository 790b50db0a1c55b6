"""The work of `worldjepa bench run`: check that all data are there, then find out one result after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from omegaconf import OmegaConf
from rich.console import Console

from worldjepa.bench.bed import Bed
from worldjepa.bench.encoders import Device
from worldjepa.bench.examples import held
from worldjepa.bench.following import FollowBed
from worldjepa.bench.jobs import Circumstances, Job, Spec, Tally, carry_out, known_results, specs, versions
from worldjepa.bench.record import Record, tidy
from worldjepa.bench.subject import Subject
from worldjepa.bench.summary import line_of, results_table
from worldjepa.bench.tasks import LESS_IS_BETTER, PROBES, Suite, Task
from worldjepa.cli.bench_along import open_along
from worldjepa.cli.bench_data import (
    Group,
    absent_extra,
    examples_of,
    facts_of,
    folder_of,
    grouped,
    open_group,
    tracking_of,
)
from worldjepa.cli.bench_models import open_subjects
from worldjepa.cli.bench_world import PlanBed
from worldjepa.cli.validate import settings
from worldjepa.errors import UserError
from worldjepa.interop import runs
from worldjepa.interop.sizes import Ask
from worldjepa.train.folder import git_commit
from worldjepa.train.lock import RunLock
from worldjepa.train.logs import screen_console

PLAIN = ("run.precision=32-true", "run.steps=1", "optim.warmup_steps=0")
"""Settings where the words say nothing; no steps are taken, but settings must have some."""
AT_A_TIME = 64
"""Observations of a pass, unless run.batch_size says otherwise."""


class Wanted(NamedTuple):
    """What the words ask for; see `worldjepa bench --help`."""

    suite: Suite
    tasks: list[Task]
    probes: list[str]
    rows: list[str]
    seeds: int
    out: Path
    skip: bool
    roots: Mapping[str, str]
    words: list[str]
    """For the group `run`."""
    config_dirs: Sequence[Path]
    command: str


class Bench(NamedTuple):
    """A model with what it is measured on."""

    subject: Subject
    groups: list[Group | PlanBed]


def measure(checkpoints: Sequence[str], names: Sequence[str], ask: Ask, wanted: Wanted) -> int:
    """Measure models and print a table for each task.

    Raises:
        UserError: a model or the data of a task cannot be had; nothing has been computed then.
    """
    console = screen_console()
    note = partial(console.print, markup=False, highlight=False)
    place = _place(wanted)
    opening = open_along if wanted.suite.along else open_subjects
    subjects = opening(checkpoints, names, ask, wanted.config_dirs)
    benches = [_opened(subject, ask, wanted, note) for subject in subjects]
    known = known_results(wanted.out, note)
    _check_names(subjects, known)
    circumstances = Circumstances(versions(), git_commit(), str(place.device), torch.get_num_threads(), wanted.command)
    for bench in benches:
        with RunLock(wanted.out / bench.subject.name, "out"):
            tidy(wanted.out / bench.subject.name)
            tally = _measured(bench, wanted, place, known, circumstances, console)
        _show(bench.subject, tally, wanted, console)
    return 0


def _place(wanted: Wanted) -> Device:
    """Where and how encoders run."""
    run, _, _ = settings(OmegaConf.from_dotlist([*PLAIN, *wanted.words]))
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    given = any(word.startswith("run.batch_size=") for word in wanted.words)
    size = run.batch_size if given else AT_A_TIME
    return Device(fabric.device, fabric.autocast, str(run.precision), size)


def _opened(subject: Subject, ask: Ask, wanted: Wanted, note: partial[None]) -> Bench:
    """The data of all tasks for a model, checked as far as can be without reading them.

    Raises:
        UserError: no task is for its modality, or data are missing.
    """
    mine = [task for task in wanted.tasks if task.modality == subject.modality]
    if not mine:
        others = ", ".join(dict.fromkeys(task.modality for task in wanted.tasks))
        raise UserError(
            f"{subject.checkpoint} is a model of {subject.modality}, for which there is no task here "
            f"(suite={wanted.suite.name}: {others})"
        )
    there, missing = list[Task](), list[str]()
    for task in mine:
        install = absent_extra(task)
        if install is not None:
            note(f"left out: task {task.name} needs {install}")
            continue
        try:
            folder_of(task, wanted.roots)
            if task.metric == "success" and not runs.is_ours(Path(subject.checkpoint).expanduser()):
                raise UserError(f"task {task.name} is for runs of `worldjepa train`: {subject.checkpoint} is none")
        except UserError as error:
            missing.append(str(error))
        else:
            there.append(task)
    groups: list[Group | PlanBed] = []
    for tasks in grouped(there):
        try:
            groups.append(_group(tasks, subject, ask, wanted))
        except UserError as error:
            if not wanted.skip:
                raise
            missing.append(str(error))
    if missing and not wanted.skip:
        more = f" (and {len(missing) - 1} more such tasks)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}{more}; missing=skip measures what can be measured")
    for one in missing:
        note(f"left out: {one}")
    if not groups:
        raise UserError(f"nothing is left to be measured for {subject.checkpoint}")
    return Bench(subject, groups)


def _group(tasks: list[Task], subject: Subject, ask: Ask, wanted: Wanted) -> Group | PlanBed:
    if tasks[0].metric == "success":
        path = Path(subject.checkpoint).expanduser()
        try:
            return PlanBed(path, tasks[0], wanted.config_dirs, ask.allow)
        except UserError as error:
            raise UserError(f"task {tasks[0].name}: {error}") from error
    group = open_group(tasks, subject, wanted.roots, wanted.config_dirs)
    if tasks[0].metric == "j_and_f":
        tracking_of(group).names("val")
    elif tasks[0].folder is not None:
        examples_of(group, wanted.suite)  # says now what is wrong with a folder of the user's
    return group


def _check_names(subjects: Sequence[Subject], known: Mapping[str, Record]) -> None:
    """Refuse a name that another checkpoint's results have.

    Raises:
        UserError: names both.
    """
    for subject in subjects:
        for record in known.values():
            if record.model != subject.name or record.row != "trained" or record.checkpoint == subject.checkpoint:
                continue
            if record.probe != "plan" and record.weights != subject.weights:
                raise UserError(
                    f"'{subject.name}' is already the name of results of {record.checkpoint}: give {subject.checkpoint} "
                    "another with name=, or choose another folder with out="
                )


def _specs(bench: Bench, wanted: Wanted) -> list[tuple[Group | PlanBed, list[Spec]]]:
    """The results of each group, those that need the same features together."""
    found = []
    # What a run is compared with is found out once, beside its last checkpoint.
    rows = [row for row in wanted.rows if bench.subject.last or row == "trained"]
    for group in bench.groups:
        tasks = group.tasks if isinstance(group, Group) else [group.task]
        each = [one for task in tasks for one in specs(task, wanted.suite, rows, wanted.probes, wanted.seeds)]
        each.sort(key=lambda one: (wanted.rows.index(one.row), one.seed))
        found.append((group, each))
    return found


def _measured(
    bench: Bench,
    wanted: Wanted,
    place: Device,
    known: dict[str, Record],
    circumstances: Circumstances,
    console: Console,
) -> Tally:
    every = _specs(bench, wanted)
    total = sum(len(each) for _, each in every)
    done = 0

    def tell(record: Record) -> None:
        console.print(line_of(record, f"[{done}/{total}]"), markup=False, highlight=False)

    def jobs() -> Iterator[Job]:
        nonlocal done
        for group, each in every:
            bed = _bed(group, bench.subject, wanted, place, console)
            for spec in each:
                done += 1
                yield _job(bed, spec, bench.subject, wanted.suite)

    return carry_out(jobs(), wanted.out, known, circumstances, tell)


AnyBed = Bed | FollowBed | PlanBed
"""Where results are found out."""


def _bed(group: Group | PlanBed, subject: Subject, wanted: Wanted, place: Device, console: Console) -> AnyBed:
    if isinstance(group, PlanBed):
        return group
    task, facts = group.tasks[0], facts_of(group.config)
    if task.metric == "j_and_f":
        shown = next(iter(group.sources.values())).train()
        return FollowBed(subject, tracking_of(group), shown, facts, task, wanted.suite.most, place)
    examples = examples_of(group, wanted.suite)
    examples = examples._replace(parts={name: held(part) for name, part in examples.parts.items()})
    subject.model.encoder.grid(next(iter(examples.parts.values())).shape)  # says in its own words what does not fit
    note = partial(console.print, markup=False, highlight=False)
    return Bed(subject, examples, facts, wanted.suite, place, note)


def _job(bed: AnyBed, spec: Spec, subject: Subject, suite: Suite) -> Job:
    task = spec.task
    trained = spec.row == "trained"
    head = {
        "suite": suite.name,
        "task": task.name,
        "version": task.version,
        "modality": task.modality,
        "factor": task.factor,
        "metric": task.metric,
        "higher_is_better": task.metric not in LESS_IS_BETTER,
        "model": subject.name,
        "row": spec.row,
        "checkpoint": subject.checkpoint if trained else None,
        "weights": bed.weights(spec),
        "method": subject.method if trained else None,
        "steps": subject.steps if trained else None,
        "probe": spec.probe,
        "seed": spec.seed,
        "cost": subject.cost if trained else {},
    }
    assert task.metric in PROBES
    return Job(spec, bed.facts(spec), head, partial(bed.answer, spec))


def _show(subject: Subject, tally: Tally, wanted: Wanted, console: Console) -> None:
    by_task: dict[str, list[Record]] = {}
    for record in tally.records:
        by_task.setdefault(record.task, []).append(record)
    for records in by_task.values():
        console.print(results_table(records))
    told = [f"{tally.computed} results computed", f"{tally.reused} reused"]
    if tally.replaced:
        told.append(f"{tally.replaced} in place of others that were found under other settings")
    console.print(f"{', '.join(told)}; they are in {wanted.out / subject.name}", markup=False, highlight=False)
