"""F6: a signal finishes the step, saves and exits with 75, whenever and to whomever it comes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.harness import Child, command, events, finish, same, signal_after, some, start, until, words
from worldjepa.data import Observations
from worldjepa.train import checkpoint
from worldjepa.train.exits import REQUEUE
from worldjepa.train.signals import SIGNALS

Size = Callable[[int, int], int]
Record = Callable[..., None]


def test_at_random_times(reference: Path, tmp_path: Path, size: Size, record: Record) -> None:
    chance, trials, asked = random.Random(3), size(6, 30), 0
    while asked < trials:
        out = tmp_path / str(asked)
        child = start(out)
        child.wait_for("run folder:")
        time.sleep(chance.uniform(0, 1.0))
        child.kill(SIGNALS[asked % 3])
        began = time.monotonic()
        code = child.wait()
        assert code in (REQUEUE, 0), child.said
        assert time.monotonic() - began < 5
        if code == REQUEUE:
            (stopped,) = events(out, "stopped")
            newest = checkpoint.newest(out / "checkpoints")[0]
            assert stopped["step"] == (0 if newest is None else checkpoint.read_state(newest)["step"])
            finish(out)
        same(out, reference)
        asked += 1
    record("F6", "SIGTERM, SIGUSR1, SIGINT at random times: exit 75 within 5 s, then bitwise", asked)


def slow_evaluation() -> None:
    """Make an evaluation that would take a minute."""
    from worldjepa.evaluate.judge import Judge

    def crawl(self: Judge, encoder: object) -> dict[str, float]:
        print("evaluating", flush=True)
        time.sleep(60)
        return {"collapse/rankme": 1.0, "collapse/feature_std": 1.0}

    Judge.encoder = crawl  # type: ignore[method-assign,assignment]


def test_during_an_evaluation_which_is_made_up_for(tmp_path: Path, record: Record) -> None:
    finish(tmp_path / "whole", "run.eval_every=8")
    out = tmp_path / "run"
    child = start(out, "run.eval_every=8", before=lambda: signal_after(8, signal.SIGTERM))
    assert child.wait() == REQUEUE, child.said
    assert not [row for row in _rows(out) if "collapse/rankme" in row and row["step"] == 8]
    finish(out, "run.eval_every=8")
    same(out, tmp_path / "whole")
    measured = [
        [row["step"] for row in _rows(place) if "collapse/rankme" in row] for place in (out, tmp_path / "whole")
    ]
    assert measured[0] == measured[1] == [0, 8, 16, 24]
    child = start(tmp_path / "slow", before=slow_evaluation)
    child.wait_for("evaluating")
    child.kill(signal.SIGTERM)
    began = time.monotonic()
    assert child.wait() == REQUEUE, child.said
    assert time.monotonic() - began < 5
    record("F6", "during an evaluation, which is made up for", 2)


def _rows(out: Path) -> list[dict[str, float]]:
    from train.toy import rows

    return rows(out)


def hang(number: int = 20) -> None:
    """Let a sample take for ever, wherever it is loaded."""
    from modalities.image.observations import ArrayObservations

    original = ArrayObservations.observe

    def observe(self: Observations, index: int, rng: object = None) -> object:
        if index == number and rng is not None:
            print("waiting", flush=True)
            time.sleep(600)
        return original(self, index, rng)  # type: ignore[arg-type]

    ArrayObservations.observe = observe  # type: ignore[method-assign,assignment]


def test_a_second_signal_leaves_at_once(tmp_path: Path, record: Record) -> None:
    child = start(tmp_path / "run", before=hang)
    child.wait_for("waiting")
    child.kill(signal.SIGTERM)
    child.wait_for("SIGTERM: finishing the step")
    time.sleep(0.3)
    child.kill(signal.SIGTERM)  # one that a launcher passes on does not count
    time.sleep(1.0)
    assert child.process.is_alive()
    child.kill(signal.SIGTERM)
    began = time.monotonic()
    assert child.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2
    assert "again: leaving at once" in child.said
    record("F6", "a second signal leaves within 2 s", 1)


@pytest.mark.parametrize("target", some("the second process", "the first process", "the whole group"))
def test_with_two_processes_and_workers(target: str, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    line = [
        *("-m", "worldjepa", *words(out)),
        *("run.devices=2", "run.batch_size=4", "run.workers=1", "run.steps=2000", "run.save_every=null"),
    ]
    with command(*line, cwd=tmp_path) as process:
        until(lambda: (out / "metrics.jsonl").exists() and len(_rows(out)) > 3, 120, "the first steps")
        second = next(pid for pid in _children(process.pid) if "worldjepa" in _line(pid) and "train" in _line(pid))
        if target == "the whole group":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            os.kill(process.pid if target == "the first process" else second, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == REQUEUE, said
    newest = checkpoint.newest(out / "checkpoints")[0]
    assert newest is not None
    assert events(out, "stopped")[0]["step"] == checkpoint.read_state(newest)["step"] == len(_rows(out)) - 1
    record("F6", f"two processes with a data worker each, the signal to {target}", 1)


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def _line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_slurm_requeues_once(tmp_path: Path, record: Record) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "scontrol"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    fake.chmod(0o755)

    def queue() -> None:
        os.environ["SLURM_JOB_ID"] = "4711"
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"

    def stop_by(number: int) -> Callable[[], None]:
        def trap() -> None:
            queue()
            signal_after(5, number)

        return trap

    for name, number, more in (
        ("requeued", signal.SIGUSR1, []),
        ("only stopped", signal.SIGTERM, []),
        ("not wanted", signal.SIGUSR1, ["run.requeue=false"]),
    ):
        child: Child = start(tmp_path / name, *more, before=stop_by(number))
        assert child.wait() == REQUEUE, child.said
    assert (tmp_path / "calls").read_text() == "requeue 4711\n"
    assert events(tmp_path / "requeued", "requeue")[0]["what"] == "SLURM job 4711 is back in the queue"
    never = start(tmp_path / "hopeless", "run.resume=never", before=stop_by(signal.SIGUSR1))
    assert never.wait() == REQUEUE
    assert "could not go on without run.out=FOLDER and run.resume=auto" in never.said
    record("F6", "SLURM: scontrol requeue is called exactly once, on SIGUSR1", 4)
