"""F7, F21, F22: the run folder, its lock, its disk, and checkpoints that are written while training goes on."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from train.toy import differing

from faults.harness import ROOT, Child, checkpoints, command, events, finish, same, start, steps, until, words
from worldjepa.cli import main
from worldjepa.errors import Busy, Unsaved, UserError
from worldjepa.train import checkpoint, lock
from worldjepa.train.lock import RunLock
from worldjepa.train.optim import build_optimizer
from worldjepa.train.settings import OptimSettings
from worldjepa.train.writer import Writer

Size = Callable[[int, int], int]
Record = Callable[..., None]

# --- one writer ------------------------------------------------------------------------------------------------------


def test_of_two_starts_one_wins(reference: Path, tmp_path: Path, size: Size, record: Record) -> None:
    trials = size(2, 20)
    for trial in range(trials):
        out = tmp_path / str(trial)
        children = [Child(partial(_toy_run, out), tmp_path / f"{trial}-{index}.log") for index in range(2)]
        codes = [child.wait() for child in children]
        assert sorted(codes) == [0, Busy.exit_code], [child.said for child in children]
        winner, loser = sorted(children, key=lambda child: child.process.exitcode or 0)
        assert f"is being written by process {winner.pid} on {socket.gethostname()}" in loser.said
        same(out, reference)
        assert not (out / ".lock").exists()
    record("F21", "two starts at once: one wins, the other exits 73 and names it", trials)


def _toy_run(out: Path) -> int:
    torch.set_num_threads(1)
    return main(words(out))


def test_a_lock_of_the_dead_is_taken_over(reference: Path, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    child = start(out)
    child.wait_for("step 5/24")
    child.kill(signal.SIGKILL)
    child.wait()
    assert (out / ".lock").exists()
    finish(out)
    same(out, reference)
    record("F21", "the lock of a killed run is no obstacle", 1)


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no locks."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)


@pytest.mark.usefixtures("no_flock")
def test_without_locks_a_file_takes_their_place(tmp_path: Path, record: Record) -> None:
    with RunLock(tmp_path / "run"):
        with pytest.raises(Busy, match=f"process {os.getpid()} on "), RunLock(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / ".lock"
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then"}))
    with pytest.raises(Busy, match="process 1 on elsewhere"), RunLock(tmp_path / "run"):
        pass
    old = time.time() - lock.STALE - 1
    os.utime(file, (old, old))
    with RunLock(tmp_path / "run"):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    file.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 - 1, "since": "then"}))
    with RunLock(tmp_path / "run"):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == []
    record("F21", "a file system without locks: a fresh file is respected, a stale one taken over", 4)


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no"), RunLock(tmp_path / "a" / "b"):
        raise UserError("no")
    assert list(tmp_path.iterdir()) == []


# --- disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_costs_nothing(reference: Path, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"

    def fill() -> None:
        """After the second checkpoint, files may no longer grow to the size of one."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        write = checkpoint.write

        def later(folder: Path, step: int, *rest: object) -> Path:
            if step > 8:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            return write(folder, step, *rest)  # type: ignore[arg-type]

        checkpoint.write = later

    child = start(out, before=fill)
    assert child.wait() == Unsaved.exit_code == 74, child.said
    assert f"checkpoint {out / 'checkpoints' / 'step-00000012'} of " in child.said
    assert "could not be written: " in child.said
    assert checkpoints(out) == ["step-00000004", "step-00000008"]
    assert all(checkpoint.damage(path) is None for path in (out / "checkpoints").iterdir())
    finish(out)
    same(out, reference)
    record("F7", "disk full: exit 74 with path and bytes, the one before is whole, the run goes on bitwise", 1)


def test_a_folder_that_may_not_be_written(record: Record) -> None:
    def as_nobody() -> None:
        """Root may write everywhere, so it lets go of its rights as soon as all that it needs is imported."""
        take = RunLock.__enter__

        def enter(self: RunLock) -> RunLock:
            if os.getuid() == 0:
                os.setuid(65534)
            return take(self)

        RunLock.__enter__ = enter  # type: ignore[method-assign]

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        with tempfile.TemporaryDirectory() as logs:
            child = start(Path(name) / "run", before=as_nobody, log=Path(logs) / "log")
            assert child.wait() == 2, child.said
            assert f"run.out={name}/run cannot be written: Permission denied" in child.said
        assert list(Path(name).iterdir()) == []
    record("F7", "unwritable folder: exit 2 before the first step", 1)


def test_a_disk_without_room_is_refused_before_the_first_step(tmp_path: Path, record: Record) -> None:
    from shutil import _ntuple_diskusage  # type: ignore[attr-defined]

    def small() -> None:
        checkpoint.shutil.disk_usage = lambda path: _ntuple_diskusage(10**6, 10**6, 1000)  # type: ignore[attr-defined,assignment]

    child = start(tmp_path / "run", before=small)
    assert child.wait() == 2, child.said
    assert "1,000 bytes are free, two checkpoints take " in child.said
    assert not (tmp_path / "run").exists()
    record("F7", "too little room: refused before the first step", 1)


# --- while training goes on ------------------------------------------------------------------------------------------


def toy() -> tuple[torch.nn.Module, torch.optim.AdamW]:
    """A model of some megabytes, all of whose values are the number of its step."""
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(8)))
    optimizer = build_optimizer(model, OptimSettings())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return model, optimizer


def at(step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Bring every value to the number of the step, in place."""
    with torch.no_grad():
        for value in [*model.state_dict().values(), *checkpoint.optimizer_tensors(optimizer).values()]:
            value.fill_(step)


def test_what_is_saved_is_the_step_that_it_names(tmp_path: Path, size: Size, record: Record) -> None:
    """The weights go on changing while the writer writes, and at last it is killed in the middle."""
    from safetensors.torch import load_file

    trials = size(5, 50)

    def race() -> int:
        torch.set_num_threads(1)
        model, optimizer = toy()
        writer = Writer(tmp_path / "checkpoints", keep=1000)
        for step in range(1, trials + 2):
            at(step, model, optimizer)
            writer.save(step, model, optimizer, {}, "")
            assert threading_writers() <= 1
            for other in range(20):
                at(-other, model, optimizer)
            if step > trials:
                os.kill(os.getpid(), signal.SIGKILL)
        return 1

    child = Child(race, tmp_path / "log")
    assert child.wait() == -signal.SIGKILL, child.said
    found = checkpoint.steps_in(tmp_path / "checkpoints")
    assert len(found) >= trials
    for path in found:
        assert checkpoint.damage(path) is None
        step = int(path.name[5:])
        for kind in ("model", "optimizer"):
            assert all(bool((value == step).all()) for value in load_file(path / f"{kind}.safetensors").values())
    record(
        "F22",
        "weights change while the writer writes; killed in the middle: what is saved is the step it names",
        trials,
    )


def threading_writers() -> int:
    import threading

    return sum(thread.name.startswith("checkpoint") for thread in threading.enumerate())


def test_a_failed_write_is_told_at_the_next_occasion(tmp_path: Path) -> None:
    model, optimizer = toy()
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    writer = Writer(tmp_path / "checkpoints", keep=2)
    writer.save(1, model, optimizer, {}, "")
    with pytest.raises(Unsaved, match="step-00000001"):
        writer.save(2, model, optimizer, {}, "")
    writer.close()


def test_pruning_keeps_the_newest_and_every_so_many(tmp_path: Path) -> None:
    model, optimizer = toy()
    writer = Writer(tmp_path, keep=2, keep_every=4)
    for step in range(1, 11):
        writer.save(step, model, optimizer, {}, "")
    writer.close()
    assert [int(path.name[5:]) for path in checkpoint.steps_in(tmp_path)] == [4, 8, 9, 10]


# --- memory ----------------------------------------------------------------------------------------------------------


def scarce(most: int, always: bool = True) -> Callable[[], None]:
    """A machine on which a forward or backward pass of more than `most` samples does not fit."""

    def trap() -> None:
        from worldjepa.jepa import JEPA
        from worldjepa.types import Batch

        forward = JEPA.forward

        def limited(self: JEPA, batch: Batch) -> dict[str, torch.Tensor]:
            terms = forward(self, batch)
            if len(batch.obs) > most:  # type: ignore[arg-type]
                for value in terms.values():
                    value.register_hook(_exhausted)
            return terms

        JEPA.forward = limited  # type: ignore[method-assign]

    return trap


def _exhausted(gradient: torch.Tensor) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_memory_that_runs_out_makes_smaller_pieces(reference: Path, tmp_path: Path, record: Record) -> None:
    """F20: in the backward pass, in one process."""
    out = tmp_path / "run"
    child = start(out, before=scarce(2))
    assert child.wait() == 0, child.said
    assert [event["what"].split(",")[0] for event in events(out, "memory")] == [
        "out of memory: forward passes of 4 samples from now on",
        "out of memory: forward passes of 2 samples from now on",
    ]
    assert [loss for _, loss in steps(out)] == pytest.approx([loss for _, loss in steps(reference)], rel=1e-5)
    state = checkpoint.read_state(out / "checkpoints" / "step-00000024")
    assert state["memory"]["micro"] == 2
    assert state["global_batch"] == 8
    record("F20", "out of memory in a backward pass: halved twice, losses within 1e-5", 1)


def test_memory_that_is_too_small_for_one_sample(tmp_path: Path, record: Record) -> None:
    child = start(tmp_path / "run", before=scarce(0))
    assert child.wait() == 2, child.said
    assert "out of memory with one sample in a forward pass: choose a smaller model" in child.said
    record("F20", "not even one sample fits: one message with what to turn", 1)


def test_in_two_processes_all_make_smaller_pieces(reference: Path, tmp_path: Path, record: Record) -> None:
    """Memory runs out in one of them only."""
    script = tmp_path / "scarce.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from faults.test_folder import scarce\n"
        "from worldjepa.cli import main\n"
        "if __name__ == '__main__':\n"
        "    if os.environ.get('LOCAL_RANK') == '1':\n"
        "        scarce(1)()\n"
        "    sys.exit(main())\n"
    )
    out = tmp_path / "run"
    line = [str(script), *words(out, "run.devices=2", "run.batch_size=4")]
    with command(*line, cwd=tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}") as process:
        said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert len(events(out, "memory")) == 2
    assert [loss for _, loss in steps(out)] == pytest.approx([loss for _, loss in steps(reference)], rel=1e-5)
    record("F20", "in one of two processes: both halve, losses within 1e-5", 1)


def test_saving_is_the_same_with_and_without_a_thread(tmp_path: Path) -> None:
    model, optimizer = toy()
    checkpoint.save(tmp_path / "plain", 3, model, optimizer, {}, "seed: 0\n")
    writer = Writer(tmp_path / "thread", keep=2)
    writer.save(3, model, optimizer, {}, "seed: 0\n")
    writer.close()
    one, other = (tmp_path / name / "step-00000003" for name in ("plain", "thread"))
    assert (one / "MANIFEST.json").read_bytes() == (other / "MANIFEST.json").read_bytes()
    until(lambda: checkpoint.damage(other) is None, 1, "a sound checkpoint")
    from safetensors.torch import load_file

    assert differing(load_file(one / "model.safetensors"), load_file(other / "model.safetensors")) == []
