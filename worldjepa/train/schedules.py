"""Schedules as functions of the step. Nothing here has state: to resume is to ask for another step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from worldjepa.errors import UserError
from worldjepa.train.settings import OptimSettings, RunSettings


def warmup_decay(
    k: float,
    start: float,
    peak: float,
    final: float,
    warmup: int,
    total: int,
    linear: bool = False,
    fall: int | None = None,
) -> float:
    """Linear from `start` to `peak` during `warmup` steps, then half a cosine or a line down to `final` at `total`.

    Args:
        k: the step, counted from 1 as in I-JEPA, whose schedules move before the step is taken.
        start: value towards which k = 0 extrapolates.
        peak: value at the end of the warm-up.
        final: value at `total` and after.
        warmup: steps of the warm-up.
        total: steps of the whole schedule.
        linear: a line, not half a cosine.
        fall: its length; until it begins, `peak` is held. By default it begins after the warm-up.
    """
    if k < warmup:
        return start + (peak - start) * k / warmup
    begin = warmup if fall is None else max(warmup, total - fall)
    progress = min(1.0, max(0.0, (k - begin) / max(1, total - begin)))
    left = 1.0 - progress if linear else 0.5 * (1.0 + math.cos(math.pi * progress))
    return final + (peak - final) * left


def cosine(k: float, start: float, final: float, total: int) -> float:
    """Half a cosine from `start` to `final` at `total`, constant after."""
    progress = min(1.0, k / max(1, total))
    return final + (start - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Plan:
    """How long the run is and how long its schedules are, in optimiser steps."""

    steps: int
    schedule: int
    warmup: int
    global_batch: int
    steps_per_epoch: float
    optim: OptimSettings

    def lr(self, step: int) -> float:
        """Learning rate of optimiser step `step`, 0-based."""
        o = self.optim
        linear = o.decay == "linear"
        return warmup_decay(step + 1, o.start_lr, o.lr, o.final_lr, self.warmup, self.schedule, linear, o.decay_steps)

    def weight_decay(self, step: int) -> float:
        """Weight decay of optimiser step `step`, 0-based."""
        o = self.optim
        return cosine(step + 1, o.weight_decay, o.final_weight_decay, self.schedule)

    def epoch(self, step: int) -> float:
        """Passes over the data finished before optimiser step `step`."""
        return step / self.steps_per_epoch


def plan(run: RunSettings, optim: OptimSettings, samples: int, processes: int) -> Plan:
    """Work out the lengths from the number of training samples and processes.

    Raises:
        UserError: lengths are missing, given twice, or contradict one another.
    """
    if samples < 1:
        raise UserError("the training data are empty")
    global_batch = run.batch_size * run.accumulate * processes
    per_epoch = samples / global_batch
    if (run.steps is None) == (run.epochs is None):
        raise UserError(f"give one of run.steps (now {run.steps}) and run.epochs (now {run.epochs})")
    steps = run.steps if run.steps is not None else round((run.epochs or 0) * per_epoch)
    if steps < 1:
        raise UserError(
            f"run.epochs={run.epochs} of {samples} samples in global batches of {global_batch} is less than one step; "
            "raise run.epochs or lower run.batch_size"
        )
    warmup = warmup_length(optim, steps, per_epoch)
    schedule = int(optim.ipe_scale * steps)
    if warmup > schedule:
        raise UserError(f"a warm-up of {warmup} steps does not fit into a schedule of {schedule} steps")
    if optim.decay_steps is not None and warmup + optim.decay_steps > schedule:
        raise UserError(
            f"a warm-up of {warmup} steps and optim.decay_steps={optim.decay_steps} do not fit into a schedule of {schedule}"
        )
    return Plan(steps, schedule, warmup, global_batch, per_epoch, optim)


def warmup_length(optim: OptimSettings, steps: int, steps_per_epoch: float) -> int:
    """The length of the warm-up in steps, from whichever of its three settings is given.

    Raises:
        UserError: none or several are given.
    """
    given = {
        name: getattr(optim, name)
        for name in ("warmup_epochs", "warmup_steps", "warmup_share")
        if getattr(optim, name) is not None
    }
    if len(given) != 1:
        raise UserError(
            "give one of optim.warmup_epochs, optim.warmup_steps and optim.warmup_share, not "
            + (", ".join(f"optim.{name}={value}" for name, value in given.items()) or "none of them")
        )
    unit = {"warmup_epochs": steps_per_epoch, "warmup_steps": 1, "warmup_share": steps}
    (name,) = given
    return int(given[name] * unit[name])
