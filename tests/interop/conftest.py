"""Embedded data sets are kept in a folder of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from train.conftest import finished, home

from modalities.image import embedded

__all__ = ["finished", "home"]


@pytest.fixture(scope="module", autouse=True)
def small_splits(home: Path) -> Iterator[None]:
    """Fewer labelled images than the embedded sets come with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 200, "val": 60, "test": 60})
        patch.setenv("WORLDJEPA_HOME", str(home.with_name("home of few labels")))
        yield
