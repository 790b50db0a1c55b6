"""Runs of several seeds: each in a process of its own, and their numbers told together."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence


def worldjepa(*words: str) -> None:
    """Run one command of worldjepa.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "worldjepa", *words], check=True)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and range."""
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})"
