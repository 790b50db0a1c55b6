"""Fixtures of the tests that train: where embedded data are kept, and one finished toy run to compare others with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from train.toy import train


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the embedded data sets, which are drawn once a session."""
    folder = tmp_path_factory.getbasetemp() / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLDJEPA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of six uninterrupted steps with a checkpoint after the third. Copy it before changing anything."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert train(out, "run.save_every=3", "run.keep=5") == 0
    return out
