"""One process at a time: those that come later wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worldjepa.errors import Busy
from worldjepa.train.lock import RunLock

PATIENCE = 0.5
"""Seconds between two looks."""


@contextmanager
def turn(folder: Path, tell: Callable[[str], object]) -> Iterator[None]:
    """Hold a folder that exists for this purpose only; wait while another process does.

    Args:
        folder: is made, and taken away again.
        tell: is told once what is waited for.
    """
    lock, waited = RunLock(folder, "lock"), False
    while True:
        try:
            lock.__enter__()
        except Busy:
            if not waited:
                tell(f"waiting for the process that makes {folder.with_suffix('')}")
            waited = True
            time.sleep(PATIENCE)
        else:
            break
    try:
        yield
    finally:
        lock.__exit__()
