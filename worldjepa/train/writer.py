"""Writes checkpoints while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldjepa.train import checkpoint


class Writer:
    """Copies what is to be saved, then writes it in a thread of its own. At most one checkpoint is under way.

    Args:
        folder: the run's `checkpoints` folder.
        keep: how many of the newest checkpoints stay.
        keep_every: those at multiples of this many steps stay too.
        rank: this process.
        shards: over how many processes the weights are sharded.
    """

    def __init__(self, folder: Path, keep: int, keep_every: int | None = None, rank: int = 0, shards: int = 1) -> None:
        self.folder = folder
        self.keep = keep
        self.keep_every = keep_every
        self.rank = rank
        self.shards = shards
        self.saved: int | None = None
        """The step of the newest checkpoint that is under way or done."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    @property
    def writes(self) -> bool:
        """Whether this process has anything to write."""
        return self.rank == 0 or self.shards > 1

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any], config: str
    ) -> None:
        """Take a copy and start to write it; returns as soon as the copy is taken.

        Raises:
            Unsaved: the one before could not be written.
        """
        self.wait()
        self.saved = step
        if self.writes:
            copy = checkpoint.snapshot(model, optimizer)
            self._pending = self._pool.submit(self._write, step, copy, dict(state), config)

    def wait(self) -> None:
        """Wait until nothing is under way.

        Raises:
            Unsaved: it could not be written.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait and let the thread go; see `wait`."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _write(self, step: int, tensors: checkpoint.Snapshot, state: dict[str, Any], config: str) -> None:
        checkpoint.write(self.folder, step, tensors, state, config, self.rank, self.shards)
        if self.rank == 0:
            checkpoint.prune(self.folder, self.keep, self.keep_every)
