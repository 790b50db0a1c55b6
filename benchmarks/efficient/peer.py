"""Training with the parts of another package, in an environment of its own. This file needs nothing but PyTorch and NumPy.

The process reads its job from a file. Without a number of steps in it, it takes one step for each line `step` that it reads
and answers with its seconds, as `benchmarks.contender` does. Otherwise it trains for so many steps and writes the
features of its frozen encoder on the labelled images.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from worldjepa.evaluate.counter import counted

SPLITS = ("train", "val", "test")


class Job(NamedTuple):
    """What is to be done: the same for all."""

    method: str
    data: str
    """File of `write_images`."""
    out: str
    patch: int
    dim: int
    depth: int
    heads: int
    predictor_dim: int
    predictor_depth: int
    predictor_heads: int
    batch: int
    seed: int
    weight_decay: float
    rates: list[float]
    """Learning rate of each step; none to take steps when asked."""
    marks: list[int]
    """Steps after which the encoder is asked for its features; 0 is before the first."""
    ema: float | None
    """Momentum of moving averages at the start; None for the package's own."""

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(self._asdict()))

    @classmethod
    def load(cls, file: str) -> Job:
        """Read what `save` wrote."""
        return cls(**json.loads(Path(file).read_text()))


class Learner(NamedTuple):
    """What a package brings."""

    parts: nn.Module
    """All that is trained."""
    loss: Callable[[Tensor], Tensor]
    """The loss of normalised images `[B, C, H, W]`."""
    follow: Callable[[float], None]
    """Moves what follows the trained parts, at this share of the run."""
    features: Callable[[Tensor], Tensor]
    """Tokens of whole images, `[B, N, D]`, of the encoder that is used once training is over."""


Build = Callable[[Job, int, int], Learner]
"""Builds a learner for a job, the side of the images and their channels."""


def serve(build: Build) -> None:
    """The life of the process."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    torch.set_num_threads(1)
    job = Job.load(sys.argv[1])
    arrays = np.load(job.data)
    images = torch.from_numpy(arrays["images"])
    torch.manual_seed(job.seed)
    run = Run(job, build(job, images.shape[-1], images.shape[1]), images)
    if job.rates:
        run.learn({name: torch.from_numpy(arrays[name]) for name in SPLITS})
        return
    for _ in sys.stdin:
        print(json.dumps({"seconds": run.step(1e-4, 0.0)}), file=answers, flush=True)


class Run:
    """A learner with its images and optimiser.

    Args:
        job: what is to be done.
        learner: what learns.
        images: uint8 `[N, C, H, W]`.
    """

    def __init__(self, job: Job, learner: Learner, images: Tensor) -> None:
        self.job, self.learner, self.images = job, learner, images
        some = images[:1000].float() / 255
        self.mean, self.std = some.mean((0, 2, 3), keepdim=True), some.std((0, 2, 3), keepdim=True)
        free = [value for value in learner.parts.parameters() if value.requires_grad]
        groups = [
            {"params": [value for value in free if value.ndim > 1], "weight_decay": job.weight_decay},
            {"params": [value for value in free if value.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.order = torch.Generator().manual_seed(job.seed)
        self.waiting: list[int] = []

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the learner takes them."""
        return (images.float() / 255 - self.mean) / self.std

    def rows(self) -> list[int]:
        """The next images: one permutation after another."""
        while len(self.waiting) < self.job.batch:
            self.waiting += torch.randperm(len(self.images), generator=self.order).tolist()
        taken, self.waiting = self.waiting[: self.job.batch], self.waiting[self.job.batch :]
        return taken

    def step(self, rate: float, progress: float) -> float:
        """Take a training step; returns its seconds of processor time."""
        begun = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss = self.learner.loss(self.normalised(self.images[self.rows()]))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.learner.follow(progress)
        return time.process_time() - begun

    def operations(self) -> float:
        """Of a training step, one image's share."""

        def work() -> Any:
            loss = self.learner.loss(self.normalised(self.images[: self.job.batch]))
            return loss.backward()  # type: ignore[no-untyped-call]

        return sum(counted(work)[1] for _ in range(4)) / 4 / self.job.batch

    def learn(self, splits: dict[str, Tensor]) -> None:
        """Take all steps; write features on the way and, at the end, what it took."""
        out, spent = Path(self.job.out), 0.0
        flops = self.operations()
        for done, rate in enumerate([None, *self.job.rates]):
            if rate is not None:
                spent += self.step(rate, done / len(self.job.rates))
            if done in self.job.marks:
                write(out / f"features-{done}.npz", {name: self.features(images) for name, images in splits.items()})
        last = float(self.learner.loss(self.normalised(self.images[:256])).detach())
        facts = {"seconds": spent, "flops": flops, "loss": last, "steps": len(self.job.rates)}
        aside = out / ".done.json"
        aside.write_text(json.dumps(facts))
        aside.replace(out / "done.json")

    @torch.no_grad()
    def features(self, images: Tensor) -> np.ndarray:
        """The mean of the tokens of each image, float32 `[N, D]`."""
        self.learner.parts.eval()
        parts = [self.learner.features(self.normalised(some)).mean(1) for some in images.split(256)]
        self.learner.parts.train()
        return torch.cat(parts).float().numpy()


def write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays so that the file is never seen half-written."""
    aside = file.with_name(f".{file.name}")
    with aside.open("wb") as stream:
        np.savez(stream, **arrays)
    aside.replace(file)
