"""Small embedded data, a toy model, and a suite that is over in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from train.toy import train

from modalities.image import embedded
from modalities.trajectory import embedded as rooms
from worldjepa.cli import main

SUITE = """
# A suite for tests.
tasks: [patterns, shapes_x, imagenet, rooms_position, rooms_column, rooms_plan_tiny]
probes: [knn, ridge, lowshot10]
most: {train: 90, val: 30, test: 41}
share: 0.8
supervised: {steps: 4, batch: 8, checks: 2, seeds: 1}
"""
PLAN = """
# Three goals.
modality: trajectory
data: rooms
metric: success
settings: {layout: empty}
plan: {tasks: near, count: 3, budget: 16, samples: 8, iterations: 1, horizon: 4}
"""
ALONG = """
# Every checkpoint of a run.
tasks: [patterns]
probes: [ridge, lowshot10]
most: {train: 90, val: 30, test: 41}
along: true
supervised: {steps: 2, batch: 8, checks: 1, seeds: 1}
"""
PIXELS = """
# Classes of pixels, and things to follow.
tasks: [ade20k, davis_small]
probes: [knn]
supervised: {steps: 2, batch: 8, checks: 1, seeds: 1}
"""
DAVIS = """
# Things to follow in few pixels.
modality: image
data: davis
metric: j_and_f
follow: {height: 16, context: 2}
folder: davis
layout: as it is unpacked
"""
WORLD = [
    *("modality=trajectory", "data.size=16", "data.episodes=8", "data.steps=12", "data.horizon=4", "arch.dim=8"),
    *("arch.size=16", "arch.predictor.dim=24", "arch.predictor.depth=1", "run.batch_size=8", "run.steps=2"),
    *("run.threads=1", "run.accelerator=cpu", "run.tensorboard=false", "probe.enabled=false"),
]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is made once, and few labelled images."""
    folder = tmp_path_factory.getbasetemp() / "home of benches"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLDJEPA_HOME", str(folder))
        patch.delenv("WORLDJEPA_DATA", raising=False)
        patch.setattr(embedded, "PROBE_SIZES", {"train": 100, "val": 30, "test": 50})
        patch.setattr(rooms, "PROBE_SIZES", {"train": 60, "val": 20, "test": 20})
        yield folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a toy model of images."""
    out = tmp_path_factory.mktemp("bench") / "toy"
    assert train(out, "arch.encoder.depth=4", "run.steps=2") == 0
    return out


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a toy world model."""
    out = tmp_path_factory.mktemp("bench") / "rooms"
    assert main(["train", *WORLD, f"run.out={out}"]) == 0
    return out


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite and a task of the user's own."""
    folder = tmp_path_factory.mktemp("options")
    files = {"suite/small": SUITE, "suite/way": ALONG, "suite/pixels": PIXELS}
    for name, text in {**files, "task/rooms_plan_tiny": PLAN, "task/davis_small": DAVIS}.items():
        file = folder / "bench" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip())
    return folder
