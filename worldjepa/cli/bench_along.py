"""The saved checkpoints of runs, each as a model of its own, with what training had cost by then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.bench.cost import operations, read_log, spent
from worldjepa.bench.record import COSTS
from worldjepa.bench.spending import SIGN
from worldjepa.bench.subject import Subject
from worldjepa.cli.bench_models import named_models, opened
from worldjepa.cli.own import place
from worldjepa.errors import UserError
from worldjepa.interop.sizes import Ask
from worldjepa.train import checkpoint
from worldjepa.train.trusted import read_config, restrict


def open_along(given: Sequence[str], names: Sequence[str], ask: Ask, config_dirs: Sequence[Path]) -> list[Subject]:
    """Load every checkpoint of some runs; the model of each is called `NAME@STEP`.

    Raises:
        UserError: one is no run folder or has no sound checkpoint, its log does not tell what it cost, or the data that it
            learned from are not there.
    """
    found = []
    for one, name in zip(given, named_models(given, names), strict=True):
        found += _checkpoints(one, name, ask, config_dirs)
    return found


def _checkpoints(given: str, name: str, ask: Ask, config_dirs: Sequence[Path]) -> list[Subject]:
    folder = place({"checkpoint": given})
    steps = checkpoint.steps_in(folder / "checkpoints")
    if not steps:
        raise UserError(
            f"{given} is no run folder with checkpoints: this suite measures all that a run has saved, "
            "train with run.save_every=N run.keep_every=N"
        )
    log = read_log(folder)
    config = read_config(checkpoint.locate(steps[-1]))
    restrict(config, ask.allow)
    try:
        per_sample = operations(config)
    except UserError as error:
        raise UserError(f"{given}: what a step costs is counted on a step, which cannot be made: {error}") from error
    found = []
    for path in steps:
        step = int(path.name.removeprefix("step-"))
        before = spent(log, step, given)
        cost = dict(zip(COSTS, (before.seconds, before.samples, before.samples * per_sample), strict=True))
        subject = opened(str(path), f"{name}{SIGN}{step}", ask, config_dirs)
        subject.cost, subject.last = cost, path == steps[-1]
        found.append(subject)
    return found
