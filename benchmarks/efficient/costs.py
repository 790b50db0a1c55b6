"""What a training step of each method costs: time, taken in turns, and arithmetic. Kept, for all runs to go by."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.efficient.frozen import composed, loaded
from worldjepa.cli.validate import settings
from worldjepa.data.views import stacked
from worldjepa.errors import UserError
from worldjepa.evaluate.arithmetic import count_step, mean
from worldjepa.jepa import per_view
from worldjepa.train.build import build_model, build_sampler, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.optim import build_optimizer
from worldjepa.train.stream import generator
from worldjepa.types import Batch, Masks

DATA = {"patterns": ["data=patterns"], "shapes": ["data=shapes", "arch.patch=4"]}
"""Words for each data set; both give 8 x 8 tokens."""
ROUNDS, WARM_UP = 15, 3
YARDSTICK = "I-JEPA"
"""What others are timed against, when the machine may be busier than it was."""

Seconds = Callable[[], float]
"""A piece of work that returns its seconds of processor time."""


class Study(NamedTuple):
    """What all runs have in common."""

    out: Path
    data: str
    seconds: float
    batch: int
    ema: float | None = None
    """Momentum that moving averages of other packages begin with; None for their own."""

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        return self.out / self.data

    def words(self, method: str, rate: float) -> list[str]:
        """Words of `worldjepa train` for a method."""
        return [*DATA[self.data], f"method={method}", f"run.batch_size={self.batch}", f"optim.lr={rate:g}"]


def of(study: Study) -> dict[str, dict[str, Any]]:
    """What was found: `ms` of a step, `data_ms` of its data, `flops` of the parts for one image; nothing before `plan`.

    Raises:
        UserError: it is of a study with other settings.
    """
    file = study.folder / "costs.json"
    if not file.exists():
        return {}
    kept = loaded(file)
    asked = {"seconds": study.seconds, "batch": study.batch}
    if kept["study"] != asked:
        raise UserError(f"{study.folder} is of a study with {kept['study']}, not {asked}: choose another --out")
    methods: dict[str, dict[str, Any]] = kept["methods"]
    return methods


def keep(study: Study, methods: Mapping[str, dict[str, Any]]) -> None:
    """Write what was found, beside what is there."""
    found = {**of(study), **methods}
    study.folder.mkdir(parents=True, exist_ok=True)
    asked = {"seconds": study.seconds, "batch": study.batch}
    write_json(study.folder / "costs.json", {"study": asked, "methods": found})


def plan(study: Study, methods: Mapping[str, str]) -> None:
    """Time and count a step of each method, unless that is done.

    Args:
        study: the study.
        methods: the option of the group `method` for each name.
    """
    if of(study):
        return
    steps = {name: Step(study, method) for name, method in methods.items()}
    times = in_turns({name: step.whole for name, step in steps.items()})
    data = in_turns({name: step.data for name, step in steps.items()})
    found = {}
    for name, step in steps.items():
        flops = step.arithmetic()
        found[name] = {"ms": 1e3 * times[name], "data_ms": 1e3 * data[name], "flops": flops}
    keep(study, found)


def in_turns(work: Mapping[str, Seconds], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each piece of work, the pieces taking turns."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(WARM_UP + rounds):
        for name, piece in work.items():
            spent = piece()
            if turn >= WARM_UP:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


class Step:
    """Training steps of a method, as the trainer takes them."""

    def __init__(self, study: Study, method: str) -> None:
        config = composed(study.words(method, 1.5e-3))
        self.observations = build_source(config).train()
        torch.manual_seed(0)
        self.model = build_model(config, 1000, self.observations)
        self.sampler = build_sampler(config)
        self.grid = self.model.encoder.grid(self.observations.shape)
        self.optimizer = build_optimizer(self.model, settings(config)[1])
        self.batch, self.taken = study.batch, 0

    def observe(self) -> Batch:
        """The next observations, without masks."""
        first = self.taken * self.batch
        rows = [(first + row) % len(self.observations) for row in range(self.batch)]
        return stacked([self.observations.observe(row, generator(0, "augment", 0, row)) for row in rows])

    def masked(self) -> Batch:
        """The next observations with their masks."""
        rng = generator(0, "masks", self.taken)
        self.taken += 1
        masks = per_view(self.sampler, self.grid, self.batch, self.model.views, rng)
        return self.observe()._replace(masks=masks)

    def whole(self) -> float:
        """Take a step; returns its seconds."""
        begun = time.process_time()
        batch = self.masked()
        self.optimizer.zero_grad()
        terms = self.model(batch)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.model.update(0)
        return time.process_time() - begun

    def data(self) -> float:
        """Seconds of the observations alone."""
        begun = time.process_time()
        self.taken += 1
        self.observe()
        return time.process_time() - begun

    def arithmetic(self, draws: int = 32) -> dict[str, float]:
        """Operations of each part for one image, forward and backward, the mean of many masks.

        Masks are drawn for the whole batch, for their lengths depend on it, and two of its images are counted.
        """
        steps = []
        for _ in range(draws):
            obs, masks, _ = self.masked()
            assert isinstance(obs, torch.Tensor)
            steps.append(
                count_step(self.model, Batch(obs[:2], [Masks(*(sets[:2] for sets in mask)) for mask in masks]))
            )
        found = mean(steps)
        return {part: found.of(part) / 2 for part in ("student", "teacher", "predictor", "objective")}
