"""Which sample comes when, and with which randomness: pure functions of (seed, position).

The training data are an endless sequence: one seeded permutation of all samples an epoch, one epoch after another. A step
takes the next `global_batch` positions of it, of which every process takes its rows. Nothing else remembers where the run
stands, so the number of workers cannot matter and the number of processes changes only who does the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose stream is a hash of the key; different keys give unrelated streams."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    # 63 bits: `manual_seed` takes a signed integer.
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class Ticket(NamedTuple):
    """One sample of one epoch."""

    epoch: int
    sample: int


class Order:
    """The endless sequence of tickets.

    Args:
        samples: the number of samples, n.
        seed: the run's seed.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self.samples = samples
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def __getitem__(self, position: int) -> Ticket:
        """The ticket at a position of the sequence."""
        epoch, place = divmod(position, self.samples)
        if epoch != self._epoch:
            self._permutation = torch.randperm(self.samples, generator=generator(self.seed, "order", epoch)).tolist()
            self._epoch = epoch
        return Ticket(epoch, self._permutation[place])


class Batches(Sampler[list[Ticket]]):
    """The tickets of one process, one list for each forward pass, from a step onwards.

    Args:
        order: the sequence of tickets.
        steps: first and last (exclusive) optimiser step.
        batch_size: samples per process and forward pass.
        accumulate: forward passes per step.
        rank: this process, from 0.
        processes: how many there are.
        first_part: the forward pass of the first step to begin with.
    """

    def __init__(
        self,
        order: Order,
        steps: range,
        batch_size: int,
        accumulate: int,
        rank: int = 0,
        processes: int = 1,
        first_part: int = 0,
    ) -> None:
        self.order = order
        self.steps = steps
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.rank = rank
        self.processes = processes
        self.first_part = first_part

    def __len__(self) -> int:
        return len(self.steps) * self.accumulate - self.first_part

    def __iter__(self) -> Iterator[list[Ticket]]:
        for step in self.steps:
            for part in range(self.first_part if step == self.steps.start else 0, self.accumulate):
                rows = self.rows(part)
                first = step * self.batch_size * self.accumulate * self.processes
                yield [self.order[first + row] for row in rows]

    def after(self, passes: int) -> Batches:
        """The same without the first forward passes."""
        done, parts = divmod(passes, self.accumulate)
        steps = range(self.steps.start + done, self.steps.stop)
        return Batches(
            self.order, steps, self.batch_size, self.accumulate, self.rank, self.processes, self.first_part + parts
        )

    def starting(self, step: int) -> Batches:
        """The same from another step on."""
        steps = range(step, self.steps.stop)
        return Batches(self.order, steps, self.batch_size, self.accumulate, self.rank, self.processes)

    def rows(self, part: int) -> range:
        """The rows of a global batch that this process takes in forward pass `part` of a step."""
        first = (part * self.processes + self.rank) * self.batch_size
        return range(first, first + self.batch_size)
