"""Embeddings of whole data sets on disk, written so that a killed process goes on where it was.

While it is under way the folder holds `parts/`, the shards of `worldjepa.evaluate.shards`. At the end they are put together
and removed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import Unsaved, UserError
from worldjepa.evaluate.disk import aside, join, publish, write_json
from worldjepa.evaluate.embed import Context
from worldjepa.evaluate.shards import Shards
from worldjepa.interfaces import Encoder

POOLS = ("mean", "patches")
FORMATS = ("npy", "parquet")
RECORD = "embed.json"
PARTS = "parts"


class Wanted(NamedTuple):
    """What is to be written."""

    out: Path
    pool: str
    layout: str
    chunk: int
    """Observations between two points from which to go on."""

    def check(self) -> None:
        """Make sure before any work that it can be written.

        Raises:
            UserError: a package is missing, or the place is taken.
        """
        if self.layout == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise UserError("format=parquet needs the package pyarrow: pip install 'worldjepa[parquet]'")
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"out={self.out} is a file: name a folder")
        if self.out.is_dir() and any(self.out.iterdir()) and not (self.out / RECORD).exists():
            raise UserError(f"out={self.out} holds something else: choose a new or empty folder")


def write_embeddings(
    encoder: Encoder,
    observations: Observations,
    wanted: Wanted,
    identity: dict[str, str],
    batch_size: int,
    device: torch.device,
    autocast: Context = nullcontext,
    progress: Callable[[int], object] = lambda done: None,
) -> str:
    """Embed all observations, in order, and return a line that says what was written.

    Args:
        encoder: sees every token.
        observations: in their evaluation views; those that cannot be read are left out and listed.
        wanted: where and how.
        identity: what tells these embeddings from others: weights, data, precision.
        batch_size: observations per forward pass.
        device: where the encoder is.
        autocast: makes the context to run in.
        progress: told after every batch how many observations are done.

    Raises:
        UserError: the folder belongs to other embeddings, or nothing can be read.
        Unsaved: the disk does not take it.
    """
    total = len(observations)
    facts: dict[str, Any] = {
        "pool": wanted.pool,
        "format": wanted.layout,
        "chunk": wanted.chunk,
        "total": total,
        **identity,
    }
    try:
        if _begin(wanted.out, facts):
            return f"{wanted.out} is complete already"
        encoder.eval()

        def vectors(obs: Tensor) -> NDArray[np.float32]:
            with autocast():
                x: Tensor = encoder(obs.to(device)).x
            found: NDArray[np.float32] = (x.float().mean(1) if wanted.pool == "mean" else x.float()).cpu().numpy()
            return found

        shards = Shards(wanted.out / PARTS, wanted.chunk)
        shards.fill(observations, vectors, batch_size, progress)
        return _finish(wanted, facts, shards, observations)
    except OSError as error:
        raise Unsaved(
            f"{wanted.out} could not be written: {error.strerror or error}; the same command goes on from here"
        ) from error


def _begin(out: Path, facts: dict[str, Any]) -> bool:
    """Take the folder, or go on in it; returns whether all is done already."""
    record = out / RECORD
    if not record.exists():
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        write_json(record, {**facts, "complete": False})
        return False
    try:
        before = json.loads(record.read_text())
    except ValueError as error:
        raise UserError(f"{record} cannot be read: {error}; choose another folder") from error
    differing = [name for name, value in facts.items() if before.get(name) != value and name != "checkpoint"]
    if differing:
        told = ", ".join(f"{name} ({before.get(name)} there, {facts[name]} now)" for name in differing)
        raise UserError(f"out={out} holds other embeddings: {told}; choose another folder")
    if before["complete"]:
        shutil.rmtree(out / PARTS, ignore_errors=True)  # left by a process that was killed in its last moment
    return bool(before["complete"])


def _finish(wanted: Wanted, facts: dict[str, Any], shards: Shards, observations: Observations) -> str:
    """Put the parts together."""
    out = wanted.out
    names = [observations.name(index) for index in shards.indices()]
    unreadable = shards.unreadable()
    if not names:
        raise UserError(f"none of {facts['total']} observations can be read, beginning with {unreadable[0]}")
    arrays = shards.arrays()
    shape = (len(names), *arrays[0].shape[1:])
    if wanted.layout == "npy":
        file = out / "embeddings.npy"
        join(file, arrays)
        write_json(out / "names.json", names)
    else:
        file = out / "embeddings.parquet"
        _write_parquet(file, arrays, names)
    del arrays
    done = {"shape": list(shape), "unreadable": unreadable, "complete": True}
    write_json(out / RECORD, {**facts, **done})
    shutil.rmtree(out / PARTS)
    left = f"; {len(unreadable)} could not be read, see {out / RECORD}" if unreadable else ""
    return f"written: {file}, float32 {list(shape)}{left}"


def _write_parquet(file: Path, arrays: list[NDArray[np.float32]], names: list[str]) -> None:
    """Columns `name` and `embedding`: a list of numbers, or for patches a list of such lists."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    kind = pa.float32()
    for extent in reversed(arrays[0].shape[1:]):
        kind = pa.list_(kind, extent)
    schema = pa.schema([("name", pa.string()), ("embedding", kind)])
    start = 0
    with pq.ParquetWriter(aside(file), schema) as writer:
        for array in arrays:
            values = pa.array(np.ascontiguousarray(array).reshape(-1))
            for extent in reversed(array.shape[1:]):
                values = pa.FixedSizeListArray.from_arrays(values, extent)
            rows = pa.array(names[start : start + len(array)], pa.string())
            writer.write_table(pa.Table.from_arrays([rows, values], schema=schema))
            start += len(array)
    publish(file)
