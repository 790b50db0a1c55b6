"""Runs in child processes that can be killed, and what is asked of them afterwards."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from train.toy import MODEL, differing, rows, tensors

from worldjepa.cli import main

ROOT = Path(__file__).resolve().parents[2]

FULL = os.environ.get("WORLDJEPA_FAULTS") == "full"
"""The whole suite, or a part of it that takes a few minutes."""

TINY = [
    *MODEL,
    *("data.count=64", "data.size=32", "data.augment=crop", "run.batch_size=8", "run.steps=24", "run.log_every=1"),
    *(
        "run.save_every=4",
        "run.keep=3",
        "run.workers=0",
        "run.threads=1",
        "run.accelerator=cpu",
        "run.tensorboard=false",
        "run.report=false",  # or each child would import and compile what pages are made of
    ),
    *("probe.enabled=false", "run.resume=auto"),
]
"""24 steps of a toy of some ten thousand parameters, three epochs, a checkpoint every fourth step."""

LAST = "step-00000024"


def words(out: Path, *more: str) -> list[str]:
    """The command line of the toy; words that follow win."""
    return ["train", *TINY, f"run.out={out}", *more]


Variant = TypeVar("Variant")


def some(first: Variant, *others: Variant) -> list[Variant]:
    """Variants of a test: all of them in the whole suite, otherwise the first."""
    return [first, *(others if FULL else ())]


class Child:
    """A function in a forked process, with its output in a file.

    Args:
        work: what to do; what it returns is the exit code.
        log: where standard output and error go.
    """

    def __init__(self, work: Callable[[], int], log: Path) -> None:
        self.log = log
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(work,))
        self.process.start()
        self.pid = self.process.pid or 0

    def _run(self, work: Callable[[], int]) -> None:
        os.setpgid(0, 0)  # a signal to the whole group must not reach the tests
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # They live as long as the process does.
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = work()
        sys.stdout.flush()
        os._exit(code)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it is all over."""
        if self.process.is_alive():
            os.kill(self.pid, number)

    def wait(self, seconds: float = 120.0) -> int:
        """Wait and return the exit code, negative after a signal; a child that does not come is killed and fails the test."""
        self.process.join(seconds)
        if self.process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"still running after {seconds} s:\n{self.said}")
        code = self.process.exitcode
        assert code is not None
        return code

    @property
    def said(self) -> str:
        """Everything that it has printed."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Wait until it has printed something."""
        until = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < until, f"'{text}' did not come within {seconds} s:\n{self.said}"
            time.sleep(0.005)


def start(out: Path, *more: str, before: Callable[[], object] | None = None, log: Path | None = None) -> Child:
    """Start the toy in a child process.

    Args:
        out: the run folder.
        more: words that win over the toy's.
        before: called in the child first, to set a trap.
        log: where its output goes; by default beside the run folder.
    """

    def work() -> int:
        torch.set_num_threads(1)
        if before is not None:
            before()
        return main(words(out, *more))

    return Child(work, log or out.with_suffix(".log"))


def finish(out: Path, *more: str) -> Child:
    """Start the toy, wait, and make sure that it comes to its end."""
    child = start(out, *more)
    assert child.wait() == 0, child.said
    return child


def same(out: Path, reference: Path, last: str = LAST) -> None:
    """Weights and moments are bitwise those of the reference, and every step is logged once with the same loss."""
    assert differing(tensors(out, last), tensors(reference, last)) == []
    assert steps(out) == steps(reference)


def steps(out: Path) -> list[tuple[int, float]]:
    """Every logged step with its loss."""
    return [(row["step"], row["train/loss"]) for row in rows(out) if "train/loss" in row]


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The events of a kind, in the order in which they happened."""
    file = out / "events.jsonl"
    if not file.exists():
        return []
    return [event for line in file.read_text().splitlines() if (event := json.loads(line))["event"] == kind]


@contextmanager
def command(*line: str, cwd: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, all of which is killed at the end."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOCAL_", "WORLD_", "MASTER_", "WORLDJEPA_L", "SLURM_", "TORCHELASTIC"))
    }
    process = subprocess.Popen(
        [sys.executable, *line],
        cwd=cwd,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.poll()  # it has ended, as it should
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def members(group: int) -> list[int]:
    """The processes of a group that are still there, zombies aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.01)


def checkpoints(out: Path) -> Sequence[str]:
    """The names of the finished checkpoints."""
    return sorted(path.name for path in (out / "checkpoints").glob("step-*"))


def signal_after(step: int, number: int) -> None:
    """Let the process signal itself while it takes a step, so that the step is the last one."""
    from worldjepa.train import run

    original = run.Loop._take

    def take(self: run.Loop, *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        if self.done == step - 1:  # this step is the last one that is counted
            os.kill(os.getpid(), number)

    run.Loop._take = take  # type: ignore[method-assign,assignment]
