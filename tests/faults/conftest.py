"""The sizes of the fault tests, the reference run, and the table of what was shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.harness import FULL, finish, words
from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import validate
from worldjepa.train import run
from worldjepa.train.build import build_sampler
from worldjepa.types import Grid


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """Import and compute what every run needs once, before children are forked, and not in each of them."""
    config = compose_config("train", words(Path("nowhere"))[1:]).config
    validate(config)
    run.draw_masks(build_sampler(config), Grid(1, 8, 8), 8, 0, 0)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's run without any fault."""
    out = tmp_path_factory.mktemp("reference") / "run"
    finish(out)
    return out


@pytest.fixture
def size() -> Callable[[int, int], int]:
    """How many trials: `size(quick, full)`."""
    return lambda quick, full: full if FULL else quick


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note what a test has shown: `record("F1", "what", trials)`, for `python -m benchmarks.faults`."""

    def write(fault: str, what: str, trials: int) -> None:
        file = os.environ.get("WORLDJEPA_FAULTS_RECORD")
        if file:
            with open(file, "a") as stream:
                stream.write(
                    json.dumps({"fault": fault, "what": what, "trials": trials, "test": request.node.name}) + "\n"
                )

    return write
