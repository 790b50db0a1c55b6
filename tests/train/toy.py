"""Runs that take a second: their words, and how to read what they leave behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from worldjepa.cli import main

MODEL = [
    *("arch.patch=4", "arch.dim=24", "arch.encoder.depth=1", "arch.encoder.heads=2"),
    *("arch.predictor.dim=24", "arch.predictor.depth=1", "arch.predictor.heads=2", "masks.min_context=4"),
]
"""A model of some ten thousand parameters on a grid of 8 x 8 tokens."""

DATA = ["data.count=256", "data.size=32"]

RUN = [
    *("run.batch_size=8", "run.steps=6", "run.log_every=1", "run.workers=0", "run.threads=1", "run.accelerator=cpu"),
    *("run.tensorboard=false", "probe.enabled=false"),
]

TINY = [*DATA, *MODEL, *RUN]
"""Six steps of a toy model. Words that follow win over these."""

FIRST_STEP, LAST_STEP = "step-00000001", "step-00000006"


def train(out: Path, *words: str) -> int:
    """Train the toy in this process and return the exit code."""
    return main(["train", *TINY, f"run.out={out}", *words])


def rows(out: Path) -> list[dict[str, Any]]:
    """All rows of a run's metrics, as they were written."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def table(out: Path) -> list[dict[str, float]]:
    """The same from the CSV file; empty cells are left out."""
    with (out / "metrics.csv").open(newline="") as stream:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


def column(out: Path, name: str) -> list[float]:
    """One metric, step by step."""
    return [row[name] for row in rows(out) if name in row]


def losses(out: Path) -> list[float]:
    """The training loss of every logged step."""
    return column(out, "train/loss")


def tensors(out: Path, step: str = LAST_STEP) -> dict[str, Tensor]:
    """Everything that a checkpoint holds: weights and the optimiser's state."""
    folder = out / "checkpoints" / step
    model, optimizer = (load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer"))
    return {**model, **{f"optimizer/{name}": value for name, value in optimizer.items()}}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """The names of the tensors that are not bitwise the same, or that only one side has."""
    shared = one.keys() & other.keys()
    return sorted((one.keys() ^ other.keys()) | {name for name in shared if not torch.equal(one[name], other[name])})


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip_a_byte(file: Path) -> None:
    """Damage a file without changing its size."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
