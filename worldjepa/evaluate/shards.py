"""A data set's embeddings in shards, so that a killed process goes on where it was.

Each shard is a file of vectors and a record beside it. The record is written last: where it is, the shard is whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.evaluate.disk import digest, write_array, write_json
from worldjepa.evaluate.embed import Batch, batches


class Shards(NamedTuple):
    """Shards in a folder of their own."""

    folder: Path
    size: int
    """Observations a shard."""

    def fill(
        self,
        observations: Observations,
        vectors: Callable[[Tensor], NDArray[Any]],
        batch_size: int,
        progress: Callable[[int], object] = lambda done: None,
    ) -> None:
        """Compute the shards that are missing or damaged.

        Args:
            observations: in their evaluation views; those that cannot be read are left out and listed.
            vectors: the vectors `[B, ...]` of a batch of observations.
            batch_size: observations a batch.
            progress: told after every batch how many observations are done.

        Raises:
            OSError: the disk does not take it.
        """
        total = len(observations)
        for first in range(0, total, self.size):
            indices = list(range(first, min(first + self.size, total)))
            if not self._whole(first):
                self._write(observations, indices, vectors, batch_size, progress)
            progress(indices[-1] + 1)

    @torch.no_grad()
    def _write(
        self,
        observations: Observations,
        indices: list[int],
        vectors: Callable[[Tensor], NDArray[Any]],
        batch_size: int,
        progress: Callable[[int], object],
    ) -> None:
        rows, kept = [], list[int]()
        with contextlib.closing(_ahead(batches(observations, indices, batch_size))) as coming:
            for batch in coming:
                rows.append(vectors(batch.obs))
                kept += batch.indices
                progress(batch.indices[-1] + 1)
        array, record = self._files(indices[0])
        array.unlink(missing_ok=True)
        if rows:
            write_array(array, np.concatenate(rows))
        missing = [observations.name(index) for index in sorted(set(indices) - set(kept))]
        write_json(record, {"indices": kept, "unreadable": missing, "sha256": digest(array) if rows else None})

    def indices(self) -> list[int]:
        """The observations that could be read."""
        return [index for record in self._records() for index in record["indices"]]

    def unreadable(self) -> list[str]:
        """The names of those that could not."""
        return [name for record in self._records() for name in record["unreadable"]]

    def arrays(self) -> list[NDArray[Any]]:
        """The vectors of all shards that have any, memory-mapped."""
        files = sorted(self.folder.glob("[0-9]*.npy"))
        return [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]

    def _records(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(self.folder.glob("[0-9]*.json"))]

    def _files(self, first: int) -> tuple[Path, Path]:
        return self.folder / f"{first:012d}.npy", self.folder / f"{first:012d}.json"

    def _whole(self, first: int) -> bool:
        """Whether a shard is there as it was written."""
        array, record = self._files(first)
        try:
            expected = json.loads(record.read_text(encoding="utf-8"))["sha256"]
            return expected is None or digest(array) == expected
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # not written yet, or not as we write it
            return False


def _ahead(coming: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same batches, the next one made by another thread meanwhile: decoding leaves the interpreter free."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, coming, None)
        while (batch := waiting.result()) is not None:
            waiting = pool.submit(next, coming, None)
            yield batch
