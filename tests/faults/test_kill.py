"""F1, F3, F4: killed or stopped anywhere, a run comes back bit for bit."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.harness import checkpoints, events, finish, same, signal_after, start, steps, until
from worldjepa.train import checkpoint
from worldjepa.train.exits import REQUEUE

Size = Callable[[int, int], int]
Record = Callable[..., None]


def acknowledged(out: Path) -> int:
    """The step of the newest checkpoint that is sound."""
    found, _ = checkpoint.newest(out / "checkpoints")
    return 0 if found is None else int(checkpoint.read_state(found)["step"])


def test_killed_at_random_moments(reference: Path, tmp_path: Path, size: Size, record: Record) -> None:
    """F1: SIGKILL again and again, until the run has come to its end all the same."""
    chance, kills, inside, out = random.Random(1), 0, 0, tmp_path / "run"
    began = time.monotonic()
    finish(tmp_path / "clock")
    whole = time.monotonic() - began
    wanted = size(8, 50)
    while kills < wanted:
        before = acknowledged(out) if out.exists() else 0
        child = start(out)
        time.sleep(chance.uniform(0.0, 0.8 * whole))
        inside += bool(list((out / "checkpoints").glob(".step-*")))
        child.kill()
        code = child.wait()
        over = code == 2 and "has taken 24 steps already" in child.said  # the kill before came after the last word
        assert code in (-signal.SIGKILL, 0) or over, child.said
        after = acknowledged(out) if out.exists() else 0
        assert after >= before, "an acknowledged checkpoint is lost"
        logged = steps(out)[-1][0] if (out / "metrics.jsonl").exists() and steps(out) else 0
        assert logged - after <= 8, "more than one interval, and the one under way, is to be done again"
        kills += 1
        if code == 0 or over:
            same(out, reference)
            out = tmp_path / f"run{kills}"
    if out.exists() and not (out / "report.json").exists():
        finish(out)
        same(out, reference)
    record("F1", f"SIGKILL at random moments, {inside} of them while a checkpoint was being written", kills)


def test_killed_between_the_last_checkpoint_and_the_report(reference: Path, tmp_path: Path, record: Record) -> None:
    """F1: there is nothing left to train, but something left to say."""

    def trap() -> None:
        import os

        from worldjepa.train.monitor import Monitor

        Monitor.conclude = lambda self, steps, seconds: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]

    out = tmp_path / "run"
    child = start(out, before=trap)
    assert child.wait() == -signal.SIGKILL, child.said
    assert acknowledged(out) == 24
    finish(out)
    same(out, reference)
    assert (out / "report.json").exists()
    record("F1", "SIGKILL between the last checkpoint and the report, which is made up for", 1)


def test_killed_inside_a_write(reference: Path, tmp_path: Path, size: Size, record: Record) -> None:
    """F1: the same, aimed at the moments when a checkpoint is half written."""
    chance, trials = random.Random(2), size(3, 20)
    for trial in range(trials):
        out = tmp_path / str(trial)
        child = start(out, before=lambda: slow_sync(0.05))
        until(partial(writing_after, out, chance.randint(0, 2)), 60, "a checkpoint under way")
        time.sleep(chance.uniform(0, 0.2))
        child.kill()
        child.wait()
        finish(out)
        same(out, reference)
        assert not list((out / "checkpoints").glob(".*")), "leftovers"
    record("F1", "SIGKILL inside a checkpoint write", trials)


def writing_after(out: Path, finished: int) -> bool:
    """Whether a checkpoint is under way, and at least so many are finished."""
    return len(checkpoints(out)) >= finished and any((out / "checkpoints").glob(".step-*"))


def slow_sync(seconds: float) -> None:
    """Make a checkpoint take long enough to be hit."""
    import os

    sync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds)
        sync(descriptor)

    os.fsync = slow  # type: ignore[assignment]


def test_stopped_after_any_step(reference: Path, tmp_path: Path, size: Size, record: Record) -> None:
    """F3: stop cleanly after each step, go on, and again after the next one."""
    out, stops = tmp_path / "run", 0
    gap = size(5, 1)
    for step in range(gap, 24, gap):
        child = start(out, before=lambda step=step: signal_after(step, signal.SIGTERM))
        assert child.wait() == REQUEUE, child.said
        assert acknowledged(out) == step
        stops += 1
    finish(out)
    same(out, reference)
    assert [event["step"] for event in events(out, "stopped")] == list(range(gap, 24, gap))
    record("F3", "clean stop after a step, also at the end of an epoch; resumed each time", stops)


def test_stopped_while_gradients_accumulate(tmp_path: Path, record: Record) -> None:
    """F3: with two forward passes a step."""
    words = ["run.accumulate=2", "run.batch_size=4"]
    finish(tmp_path / "whole", *words)
    out = tmp_path / "run"
    child = start(out, *words, before=lambda: signal_after(7, signal.SIGUSR1))
    assert child.wait() == REQUEUE, child.said
    finish(out, *words)
    same(out, tmp_path / "whole")
    record("F3", "the same with accumulated gradients", 1)


def test_any_number_of_workers(tmp_path: Path, reference: Path, record: Record) -> None:
    """F4: stop and go on with 0, 2, 1 workers."""
    out = tmp_path / "run"
    for workers, last in ((0, 7), (2, 15)):
        child = start(out, f"run.workers={workers}", before=lambda last=last: signal_after(last, signal.SIGTERM))
        assert child.wait() == REQUEUE, child.said
        assert acknowledged(out) == last
    finish(out, "run.workers=1")
    same(out, reference)
    record("F4", "resumed with 0, 2 and 1 data workers", 2)
