"""Results that were never measured, with answers that are known."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from worldjepa.bench.record import Record, pack

EXAMPLES = "e" * 64


def result(**fields: Any) -> Record:
    """A result of a task with 100 examples, right on as many of them as its score says."""
    given: dict[str, Any] = {
        "suite": "embedded",
        "task": "direction",
        "version": 1,
        "modality": "video",
        "factor": None,
        "metric": "top1",
        "higher_is_better": True,
        "model": "vjepa",
        "row": "trained",
        "checkpoint": "runs/vjepa",
        "weights": None,
        "method": "vjepa",
        "steps": 2000,
        "probe": "linear",
        "seed": 0,
        "score": 50.0,
        "chosen": {"k": 20},
        "train": 1000,
        "val": 200,
        "test": 100,
        "unreadable": 0,
        "examples": EXAMPLES,
        "seconds": {"features": 30.0, "probe": 6.0},
        "memory_mb": 300.0,
        "versions": {"worldjepa": "0.1", "torch": "2"},
        "commit": "0123456789abcdef",
        "device": "cpu",
        "threads": 2,
        "command": "worldjepa bench run suite=embedded checkpoint=runs/vjepa",
        **fields,
    }
    owner = given["model"] if given["row"] in ("trained", "untrained") else ""
    what = [given[name] for name in ("task", "version", "examples", "probe", "seed", "row")]
    given.setdefault("key", hashlib.sha256(repr([*what, owner]).encode()).hexdigest())
    given.setdefault("scores", {given["metric"]: given["score"]})
    if "correct" not in given:
        rng = torch.Generator().manual_seed(int(given["key"][:8], 16))
        right = torch.randperm(100, generator=rng) < round(given["score"])
        given["correct"] = pack(right) if given["metric"] == "top1" and given["row"] != "chance" else None
    return Record(**given)


def suite(models: tuple[str, ...] = ("ijepa", "vjepa"), seeds: int = 3) -> list[Record]:
    """Two probes on three tasks, with all that models are compared with."""
    records = []
    for place, (task, chance) in enumerate((("direction", 12.5), ("shape", 25.0), ("word", 5.0))):
        for seed in range(seeds):
            for model in models:
                common = {"task": task, "seed": seed, "model": model}
                records.append(result(**common, row="chance", probe="none", score=chance))
                records.append(result(**common, row="supervised", probe="none", score=95.0 + seed))
                for ahead, probe in ((0, "knn"), (10, "linear")):
                    own = 5 * models.index(model) + ahead + seed + place
                    records.append(result(**common, row="raw input", probe=probe, score=20.0 + ahead))
                    records.append(result(**common, row="untrained", probe=probe, score=35.0 + own))
                    records.append(result(**common, row="trained", probe=probe, score=60.0 + own + place * seed))
    return records
