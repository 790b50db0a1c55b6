"""Runs of several seeds: each in a process of its own, and their numbers told together."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

from worldjepa.errors import UserError


def worldjepa(*words: str) -> float:
    """Run one command of worldjepa and return the seconds of processor time that it took.

    Raises:
        UserError: it failed, and has said why.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run([sys.executable, "-m", "worldjepa", *words], check=False).returncode
    if code:
        raise UserError(f"`worldjepa {' '.join(words)}` ended with exit code {code}; what it said stands above")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and range."""
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})"
