"""Implementations of one training step, each in a process of its own, taking turns at the same work.

A process of its own gives every contender its own memory (and peak), allocator and packages: one may even come from another
environment. This file needs nothing but PyTorch.

The child reads a line `step`, takes one training step and answers with a line of JSON: seconds of every part, and the loss.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

PARTS = ("data", "masks", "target", "context", "predictor", "backward", "optimiser", "EMA")


class Size(NamedTuple):
    """How large a model is and what it is fed with."""

    image: int
    patch: int
    dim: int
    depth: int
    heads: int
    predictor_dim: int
    predictor_depth: int
    batch: int

    @property
    def min_keep(self) -> int:
        """I-JEPA's smallest block, or less on a small grid, where its own number would have samplers draw forever."""
        return 10 if self.image // self.patch > 8 else 2


class Work(NamedTuple):
    """What every contender is given: the same numbers for all."""

    size: Size
    images: Tensor
    """uint8 `[B, 3, H, W]`."""
    context: list[Tensor]
    """One `[B, K]` for each step."""
    target: list[Tensor]
    """One `[B, M, Q]` for each step."""
    weights: dict[str, Tensor]
    """Of encoder and predictor at the start, under the published names."""
    photos: list[str]
    """JPEG files that the data part decodes."""
    precision: str
    device: str
    compile: bool

    def save(self, file: Path) -> None:
        """Write everything as tensors and plain values."""
        torch.save(self._replace(size=tuple(self.size))._asdict(), file)

    @classmethod
    def load(cls, file: Path) -> Work:
        """Read what `save` wrote."""
        found = torch.load(file, weights_only=True)
        return cls(**{**found, "size": Size(*found["size"])})

    @property
    def autocast(self) -> torch.autocast:
        """The context of the forward passes."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")


class Clock:
    """Adds up the time of the parts of a step: processor time of this process, or wall-clock around a GPU's work."""

    def __init__(self, device: str, detailed: bool) -> None:
        self.gpu = device != "cpu"
        self.detailed = detailed
        self.parts: dict[str, float] = {}

    def now(self) -> float:
        """Seconds; on a GPU after all that was asked of it is done."""
        if not self.gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time what happens inside as a part of the step."""
        if not self.detailed:
            yield
            return
        begun = self.now()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + self.now() - begun


Step = Callable[[int, Clock], Tensor]


def serve(build: Callable[[Work], Step]) -> None:
    """The child's life: build a step for the work in the file named on the command line, then take steps when asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    work = Work.load(Path(sys.argv[1]))
    torch.set_num_threads(1)
    step = build(work)
    for taken, line in enumerate(sys.stdin):
        clock = Clock(work.device, detailed=line.strip() != "whole")
        begun = clock.now()
        loss = step(taken % len(work.context), clock)
        seconds = clock.now() - begun
        answer = {"parts": clock.parts, "seconds": seconds, "loss": float(loss.detach()), "peak": peak(work.device)}
        print(json.dumps(answer), file=answers, flush=True)


def peak(device: str) -> float:
    """The most memory in use so far, in bytes: of the GPU, or of the process."""
    if device != "cpu":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


class Contender:
    """A child process that takes steps when asked.

    Args:
        python: the interpreter of its environment.
        script: the file or `-m` module that calls `serve`.
        work: the file that `Work.save` wrote.
    """

    def __init__(self, python: str, script: list[str], work: Path) -> None:
        self.process = subprocess.Popen(
            [python, *script, str(work)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self, order: str = "step") -> dict[str, Any]:
        """Take a step; `order="whole"` does not time its parts, so that a GPU need not be waited for between them.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):  # printed by a library while it was imported
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"contender {self.process.args} has ended with {self.process.wait()}")
        return dict(json.loads(line))

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
