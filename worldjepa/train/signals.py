"""Signals that ask a run to stop: the step is finished, everything saved, and the process exits with `exits.REQUEUE`."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

PATIENCE = 1.0
"""Seconds within which a second signal counts as the same one: launchers pass on what the whole group got already."""


class Abandoned(Exception):
    """Raised inside `Stop.interruptible` when a signal arrives."""


class Stop:
    """Listens for signals, as a context. The first one is remembered; a second one ends the process at once.

    Args:
        farewell: what to do before ending at once, such as killing child processes.
    """

    def __init__(self, farewell: Callable[[], None]) -> None:
        self.signal: signal.Signals | None = None
        self.farewell = farewell
        self._since = 0.0
        self._interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {one: signal.signal(one, self._handle) for one in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that may be broken off anywhere: a signal, also one that came before, raises `Abandoned`.

        Raises:
            Abandoned: a signal came.
        """
        self._interruptible = True
        try:
            if self.asked:
                raise Abandoned
            yield
        finally:
            self._interruptible = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), time.monotonic()
            _tell(f"{name}: finishing the step, saving, leaving; once more to leave at once\n")
            if self._interruptible:
                raise Abandoned
        elif time.monotonic() - self._since > PATIENCE:
            _tell(f"{name} again: leaving at once, nothing more is saved\n")
            self.farewell()
            os._exit(128 + number)


def ignore() -> None:
    """Ignore all signals that ask a run to stop: for helper processes, whose master decides."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Processes started within never see these signals: they inherit that they are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def die_with_parent() -> None:
    """Let the kernel, where it is Linux, end this process when the one that started it goes."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def kill_children() -> None:
    """End all processes that `multiprocessing` started for this one, at once."""
    for child in multiprocessing.active_children():
        child.kill()


def requeue(environment: dict[str, str] | None = None) -> str | None:
    """Under SLURM, put the job back into the queue; return what to tell the user, or None outside of SLURM."""
    job = (os.environ if environment is None else environment).get("SLURM_JOB_ID")
    if job is None:
        return None
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=30, check=False, env=environment
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"SLURM job {job} could not be requeued: {error}"
    if done.returncode:
        return f"SLURM job {job} could not be requeued: {done.stderr.strip()}"
    return f"SLURM job {job} is back in the queue"


def _tell(line: str) -> None:
    # Not print(): a handler may run in the middle of another print.
    os.write(2, line.encode())
