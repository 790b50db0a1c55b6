"""What happened between two rows of the log, and the row that comes of it."""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worldjepa.train.schedules import Plan
from worldjepa.train.settings import RunSettings
from worldjepa.train.team import Team
from worldjepa.types import Masks


@dataclass
class Window:
    """What happened since the last row of the log. Tensors stay on their device until a row is due."""

    first: int
    schedule: Plan
    run: RunSettings
    terms: dict[str, Tensor] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    steps: int = 0
    waited: float = 0.0
    trained_seconds: float = 0.0
    seconds_left: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def waiting(self) -> Stopwatch:
        """A context whose time counts as waiting for data."""
        return Stopwatch(self, "waited")

    def paused(self) -> Stopwatch:
        """A context whose time does not count as training."""
        return Stopwatch(self, "began")

    def step(self, terms: dict[str, Tensor] | None, norm: float) -> None:
        """One step; without terms it was skipped."""
        self.steps += 1
        if terms is None:
            return
        self.norms.append(norm)
        for name, value in terms.items():
            self.terms[name] = self.terms[name] + value if name in self.terms else value

    def flush(
        self, done: int, rates: tuple[float, float], moved: dict[str, float], masks: list[Masks], team: Team
    ) -> dict[str, float]:
        """The row for the log after `done` steps; starts the next window. Averages are over the steps that were taken."""
        taken = len(self.norms)
        terms = {f"train/{name}": float(team.mean(value / taken)) for name, value in self.terms.items()}
        seconds = time.perf_counter() - self.began
        self.trained_seconds += seconds
        self.seconds_left = self.trained_seconds / (done - self.first) * (self.schedule.steps - done)
        row = {
            "train/loss": sum(terms.values()) if taken else math.nan,
            **terms,
            "train/lr": rates[0],
            "train/wd": rates[1],
            **{f"train/{name}": value for name, value in moved.items()},
            "train/grad_norm": sum(self.norms) / taken if taken else math.nan,
            "train/epoch": self.schedule.epoch(done),
            "train/context_tokens": float(sum(mask.context.shape[-1] for mask in masks)),
            "train/target_tokens": float(sum(mask.target.shape[-1] for mask in masks)),
            "time/step": seconds / self.steps,
            "time/data_percent": 100 * self.waited / seconds,
            "perf/samples_per_s": self.steps * self.schedule.global_batch / seconds,
            "system/memory_gb": memory_gb(team.fabric.device),
        }
        self.terms, self.norms, self.steps, self.waited, self.began = {}, [], 0, 0.0, time.perf_counter()
        return row


class Stopwatch:
    """Adds the time spent in a `with` block to a field of a window."""

    def __init__(self, window: Window, name: str) -> None:
        self.window = window
        self.name = name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        spent = time.perf_counter() - self.start
        setattr(self.window, self.name, getattr(self.window, self.name) + spent)


def memory_gb(device: torch.device) -> float:
    """Peak memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)  # macOS counts bytes, Linux kilobytes
