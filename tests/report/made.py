"""Run folders, made in no time."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = """\
seed: 0
data:
  _target_: modalities.image.data.Patterns
  size: 32
arch:
  encoder:
    _target_: worldjepa.encoders.ViT
    dim: 96
    depth: 4
masks:
  _target_: worldjepa.masks.MultiBlock
predictor:
  _target_: worldjepa.predictors.MaskTokenViT
target:
  _target_: worldjepa.targets.EMA
objective:
  _target_: worldjepa.objectives.SmoothL1
optim:
  lr: 0.001
run:
  steps: {steps}
"""
BASELINES = {
    "chance": {"eval/linear_top1": 12.5},
    "raw input": {"eval/linear_top1": 14.0},
    "untrained encoder": {"eval/linear_top1": 50.0, "eval/prediction_ratio": 2.0, "collapse/rankme": 22.0},
}
TRAINED = {"eval/linear_top1": 84.0, "eval/prediction_ratio": 0.5, "collapse/rankme": 25.0}


def png(width: int = 4, height: int = 3) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + b"\x80" * width for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def row(step: int, **more: float | None) -> dict[str, Any]:
    """A row of the log."""
    usual = {
        "train/loss": 1.0 / (step + 1),
        "train/smooth_l1": 1.0 / (step + 1),
        "train/lr": 0.001 * step,
        "train/wd": 0.04,
    }
    return {"step": step, **usual, "train/grad_norm": 0.1, "perf/samples_per_s": 300.0 + step, "time/step": 0.5, **more}


def lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one object a line."""
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))


def event(step: int, kind: str, what: str) -> dict[str, Any]:
    """A line of `events.jsonl`."""
    return {"step": step, "time": "2026-01-01T00:00:00+00:00", "event": kind, "what": what}


def made(folder: Path, steps: int = 40, done: int = 40, finished: bool = True, config: str = CONFIG) -> Path:
    """A run folder with `done` of `steps` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config.format(steps=steps))
    (folder / "overrides.json").write_text(json.dumps([f"+run.steps={steps}", "data=patterns"]))
    environment = {"command": ["worldjepa", "train", "data=patterns"], "git": "c0ffee", "versions": {"torch": "2.11.0"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "baselines.json").write_text(json.dumps(BASELINES))
    rows = [{"step": 0, **BASELINES["untrained encoder"]}, *(row(step) for step in range(10, done + 1, 10))]
    lines(folder / "metrics.jsonl", [*rows, *([{"step": done, **TRAINED}] if finished else [])])
    if finished:
        told = {"steps": done, "trained_seconds": 100.0, "baselines": BASELINES, "trained": TRAINED}
        (folder / "report.json").write_text(json.dumps(told))
    return folder
