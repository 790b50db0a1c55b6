"""F5, F19, F23: many processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from train.toy import rows, tensors

from faults.harness import FULL, ROOT, command, finish, members, same, signal_after, some, start, steps, until, words
from worldjepa.cli import main
from worldjepa.train.exits import REQUEUE
from worldjepa.train.stream import generator

Record = Callable[..., None]

TWO = ["run.devices=2", "run.batch_size=4"]
"""The same global batch on two processes."""


def together(out: Path, *more: str, launcher: tuple[str, ...] = (), **environment: str) -> tuple[int, str]:
    """Run the toy as a command; returns exit code and output."""
    with command(*launcher, "-m", "worldjepa", *words(out, *more), cwd=out.parent, **environment) as process:
        said, _ = process.communicate(timeout=180)
        until(lambda: not members(process.pid), 10, "all processes of the run gone")
    return process.returncode, said


def close(out: Path, reference: Path) -> None:
    """The same steps with losses that differ by at most 1e-5 of their size."""
    mine, theirs = steps(out), steps(reference)
    assert [step for step, _ in mine] == [step for step, _ in theirs]
    assert [loss for _, loss in mine] == pytest.approx([loss for _, loss in theirs], rel=1e-5)


def test_one_two_one(reference: Path, tmp_path: Path, record: Record) -> None:
    """F5: another number of processes goes on with the same samples and masks; the same number does so bitwise."""
    out = tmp_path / "run"
    child = start(out, before=lambda: signal_after(6, signal.SIGTERM))
    assert child.wait() == REQUEUE, child.said
    code, said = together(out, *TWO, "run.steps=24")
    assert code == 0, said
    assert "not bit for bit the run that was interrupted" in said
    close(out, reference)
    for step in (16, 20):  # go back, and on with one process
        if (out / "checkpoints" / f"step-{step:08d}").exists():
            first = step
            break
    again = tmp_path / "again"
    finish(again, f"run.resume={out}/checkpoints/step-{first:08d}")
    assert [loss for _, loss in steps(again)] == pytest.approx(
        [loss for step, loss in steps(reference) if step > first], rel=1e-5
    )
    record("F5", "1 -> 2 -> 1 processes: losses within 1e-5", 2)


STOPPED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch.distributed
from faults.harness import signal_after
from worldjepa.cli import main

if __name__ == "__main__":
    if {step} < 24 and os.environ.get("LOCAL_RANK", "0") == "1":
        signal_after({step} - 1, signal.SIGTERM)
    code = main()
    # Left to the interpreter's end, threads of a process group may abort a process that has done its work.
    sys.exit("the process group is still there" if torch.distributed.is_initialized() else code)
"""


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_torchrun_srun_and_lightning_agree_on_one_folder(reference: Path, tmp_path: Path, record: Record) -> None:
    code, said = together(tmp_path / "torchrun", *TWO, launcher=TORCHRUN)
    assert code == 0, said
    close(tmp_path / "torchrun", reference)
    record("F5", "torchrun: one folder, the same losses", 1)
    # srun starts every process and tells each who it is; so does this.
    out, port = tmp_path / "srun", "29511"
    shared = {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "run",
        "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "1",
        "MASTER_PORT": port,
        "MASTER_ADDR": "127.0.0.1",
    }
    line = ["-m", "worldjepa", *words(out, *TWO)]
    with (
        command(*line, cwd=tmp_path, **shared, SLURM_PROCID="0", SLURM_LOCALID="0") as first,
        command(*line, cwd=tmp_path, **shared, SLURM_PROCID="1", SLURM_LOCALID="1") as second,
    ):
        said = [process.communicate(timeout=180)[0] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), said
    close(out, reference)
    assert "run folder:" in said[0]
    assert said[1].count("run folder:") == 0
    record("F5", "as srun starts it: one folder, the same losses", 1)
    # Lightning starts the second process itself. It is stopped half-way, and what goes on is bitwise what was not interrupted.
    parts = tmp_path / "parts"
    for length in (10, 24):
        # The schedules must be those of the whole run, so the first part is stopped by a signal to one process.
        file = tmp_path / f"{length}.py"
        file.write_text(STOPPED.format(tests=str(ROOT / "tests"), step=length))
        with command(str(file), *words(parts, *TWO), cwd=tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}") as process:
            stopped, _ = process.communicate(timeout=180)
        assert process.returncode == (0 if length == 24 else REQUEUE), stopped
    same(parts, tmp_path / "torchrun")
    record("F5", "2 -> 2 processes: bitwise", 1)


@pytest.mark.parametrize("fault", some("stop the second", "kill the second", "kill the first"))
def test_a_process_that_is_lost(fault: str, tmp_path: Path, record: Record) -> None:
    """F19: everything is gone soon, the lost one is named, and the run goes on from its checkpoint."""
    out = tmp_path / "run"
    line = ["-m", "worldjepa", *words(out, *TWO, "run.steps=4000", "run.comm_timeout=5", "run.save_every=20")]
    with command(*line, cwd=tmp_path) as process:
        until(lambda: (out / "metrics.jsonl").exists() and len(rows(out)) > 25, 120, "the first steps")
        second = json.loads((out / ".team" / "rank-1").read_text())["pid"]
        assert second in members(process.pid)
        os.kill(
            process.pid if fault == "kill the first" else second, signal.SIGSTOP if "stop" in fault else signal.SIGKILL
        )
        began = time.monotonic()
        until(lambda: process.poll() is not None, 20, "the end of the first process")
        until(lambda: not members(process.pid), 20, "all processes of the run gone")
        assert time.monotonic() - began < 15
        said = process.stdout.read() if process.stdout is not None else ""
        assert process.returncode != 0
    if fault == "stop the second":
        assert process.returncode == REQUEUE, said
        assert f"process 1 (pid {second} on " in said
        assert "its stack:" in said
        assert "train" in said[said.index("its stack:") :]
    found = max((out / "checkpoints").glob("step-*")).name
    assert not list((out / "checkpoints").glob(".step-*.shards"))
    code, said = together(out, *TWO, f"run.steps={int(found[5:]) + 2}", "run.allow_mismatch=[]")
    assert code == 0, said
    record("F19", f"{fault} of two processes: nobody is left within 15 s, the run goes on", 1)


def test_no_stream_of_random_numbers_is_used_twice(record: Record) -> None:
    """F23: 4 processes, 4 workers, 2 epochs: augmentation, masks, order and substitutes."""
    keys = [(0, "augment", epoch, sample) for epoch in range(2) for sample in range(4 * 4 * 64)]
    keys += [(0, "substitute", epoch, sample) for epoch in range(2) for sample in range(4 * 4 * 64)]
    keys += [(0, "masks", step) for step in range(2000)] + [(0, "order", epoch) for epoch in range(100)]
    seeds = {generator(*key).initial_seed() for key in keys}
    assert len(seeds) == len(keys)
    record("F23", "no two of these streams have the same seed", len(keys))


# --- sharded ---------------------------------------------------------------------------------------------------------


def test_sharded_equals_whole_and_each_reads_the_other(reference: Path, tmp_path: Path, record: Record) -> None:
    """FSDP2 on two gloo processes: the losses of one process; its checkpoint is read by one process and the reverse."""
    out = tmp_path / "sharded"
    code, said = together(out, *TWO, "run.strategy=fsdp", "run.save_every=12")
    assert code == 0, said
    close(out, reference)
    names = {path.name for path in (out / "checkpoints" / "step-00000024").iterdir()}
    assert names == {
        *(f"{kind}-0000{rank}-of-00002.safetensors" for kind in ("model", "optimizer") for rank in (0, 1)),
        *("state.json", "config.yaml", "MANIFEST.json"),
    }
    one = tmp_path / "one"
    finish(one, f"run.resume={out}/checkpoints/step-00000012")
    assert [loss for _, loss in steps(one)] == pytest.approx(
        [loss for step, loss in steps(reference) if step > 12], rel=1e-5
    )
    trained, single = tensors(one, "step-00000024"), tensors(reference, "step-00000024")
    # Not weight by weight: where a gradient is nothing but rounding, Adam makes a step of full size of it.
    names = [name for name in single if not name.startswith("optimizer/")]
    apart, size = (
        float(sum(values.square().sum() for values in some)) ** 0.5
        for some in ([trained[name] - single[name] for name in names], [single[name] for name in names])
    )
    assert apart < 1e-3 * size
    two = tmp_path / "two"
    code, said = together(two, *TWO, "run.strategy=fsdp", f"run.resume={reference}/checkpoints/step-00000016")
    assert code == 0, said
    assert [loss for _, loss in steps(two)] == pytest.approx(
        [loss for step, loss in steps(reference) if step > 16], rel=1e-5
    )
    assert main(["eval", f"checkpoint={out}", "run.accelerator=cpu"]) == 0
    record("F5", "FSDP2 on two processes: the losses of one, and each reads the other's checkpoints", 4)


@pytest.mark.skipif(not FULL, reason="part of the whole suite, python -m benchmarks.faults")
def test_sharded_resumes_bitwise(tmp_path: Path, record: Record) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words_ = [*TWO, "run.strategy=fsdp", "run.save_every=6", "run.steps=12"]
    code, said = together(whole, *words_)
    assert code == 0, said
    code, said = together(parts, *words_, f"run.resume={whole}/checkpoints/step-00000006")
    assert code == 0, said
    for file in (
        "model-00000-of-00002",
        "model-00001-of-00002",
        "optimizer-00000-of-00002",
        "optimizer-00001-of-00002",
    ):
        first, second = (
            (place / "checkpoints" / "step-00000012" / f"{file}.safetensors").read_bytes() for place in (whole, parts)
        )
        assert first == second
    record("F5", "FSDP2: resumed bitwise", 1)
