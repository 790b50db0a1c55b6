"""F14, F18: samples that cannot be read, workers that hang or die."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from train.toy import MODEL

from faults.harness import FULL, TINY, Child, events, members, same, signal_after, some, steps, until
from faults.media import corrupt_images
from worldjepa.cli import main
from worldjepa.train.exits import REQUEUE
from worldjepa.train.quarantine import Quarantine

Record = Callable[..., None]

FOLDER = [
    *MODEL,
    *("data.size=32", "data.holdout=0.0", "run.batch_size=8", "run.log_every=1", "run.save_every=4", "run.keep=9"),
    *(
        "run.threads=1",
        "run.accelerator=cpu",
        "run.tensorboard=false",
        "run.report=false",
        "probe.enabled=false",
        "run.resume=auto",
    ),
    *("preset=quickstart", "run.steps=24"),
]
"""The toy on a folder of images."""

LAST = "step-00000024"


def on_folder(out: Path, *more: str, before: Callable[[], object] | None = None) -> Child:
    """Start the toy on a folder of images; see `faults.harness.start`."""

    def work() -> int:
        torch.set_num_threads(1)
        if before is not None:
            before()
        return main(["train", *FOLDER, f"run.out={out}", *more])

    return Child(work, out.with_suffix(".log"))


def quarantined(out: Path) -> dict[str, dict[str, str]]:
    """The entries of the list, by path."""
    file = out / "quarantine.jsonl"
    entries = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert len({entry["name"] for entry in entries}) == len(entries), "a sample is listed twice"
    return {entry["name"]: entry for entry in entries}


@pytest.mark.parametrize(
    ("good", "workers"),
    [(100, 2), *([(400, 0)] if FULL else [])],
    ids=some("a third is bad, two workers", "a tenth is bad"),
)
def test_bad_files_are_left_out_and_listed(good: int, workers: int, tmp_path: Path, record: Record) -> None:
    data = tmp_path / "data"
    bad = corrupt_images(data, good)
    passes = -(-(good + len(bad)) // 8)
    words = [f"data.root={data}", "data.max_bad_fraction=0.5", f"run.workers={workers}", f"run.steps={passes}"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert on_folder(one, *words).wait() == 0
    listed = quarantined(one)
    assert set(listed) == {str(data / name) for name in bad}
    assert all(entry["reason"] and entry["kind"] == "unreadable" for entry in listed.values())
    assert [step for step, _ in steps(one)] == list(range(1, passes + 1))
    last = f"step-{passes:08d}"
    child = on_folder(other, *words, before=lambda: signal_after(passes // 2, signal.SIGTERM))
    assert child.wait() == REQUEUE, child.said
    assert on_folder(other, *words).wait() == 0
    same(other, one, last)
    assert quarantined(other).keys() == listed.keys()
    record(
        "F14", f"{len(bad)} bad among {good} good images, {workers} workers: listed exactly, resumed bitwise", len(bad)
    )


def test_too_many_stop_the_run_with_a_list(tmp_path: Path, record: Record) -> None:
    data = tmp_path / "data"
    bad = corrupt_images(data, 160)
    out = tmp_path / "run"
    child = on_folder(out, f"data.root={data}", "run.workers=0")
    assert child.wait() == 2, child.said
    told = next(line for line in child.said.splitlines() if line.startswith("error:"))
    assert "more than data.max_bad_fraction=0.05 allows" in told
    assert str(out / "quarantine.jsonl") in told
    assert 10 <= len(quarantined(out)) <= len(bad)
    record("F14", "more than max_bad_fraction: exit 2 with the list", 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_but_bad_files_is_an_error_in_seconds(workers: int, tmp_path: Path, record: Record) -> None:
    data = tmp_path / "data"
    bad = corrupt_images(data, 0)
    began = time.monotonic()
    child = on_folder(tmp_path / "run", f"data.root={data}", f"run.workers={workers}", "data.max_bad_fraction=1.0")
    assert child.wait() == 2, child.said
    assert time.monotonic() - began < 30
    assert "can be read, beginning with" in child.said
    assert "Traceback" not in child.said
    record("F14", f"{len(bad)} bad images and no good one: an error in seconds", 1)


def test_a_batch_without_a_readable_sample_is_an_error(tmp_path: Path, record: Record) -> None:
    """The files were sound when the run began."""
    data = tmp_path / "data"
    corrupt_images(data, 200)

    def spoil() -> None:
        from worldjepa.errors import Unreadable
        from worldjepa.train.feed import Keyed

        def observe(self: Keyed, sample: int, rng: object) -> object:
            raise Unreadable(f"{self.observations.name(sample)}: gone")

        Keyed._observe = observe  # type: ignore[method-assign,assignment]

    child = on_folder(tmp_path / "run", f"data.root={data}", "run.workers=0", "data.max_bad_fraction=1.0", before=spoil)
    assert child.wait() == 2, child.said
    assert "samples cannot be used" in child.said
    assert "(gone)" in child.said
    record("F14", "files that vanish during the run: an error, no endless loop", 1)


def test_a_short_list_is_no_evidence(tmp_path: Path) -> None:
    from worldjepa.errors import UserError
    from worldjepa.train.quarantine import Bad

    quarantine = Quarantine(tmp_path / "list", samples=1000, most=0.05, writes=True)
    quarantine.add([Bad(index, str(index), "unreadable", "why") for index in range(10)])
    quarantine.check(seen=20)
    assert quarantine.add([Bad(10, "10", "hang", "why"), Bad(3, "3", "unreadable", "why")]) == 1
    with pytest.raises(UserError, match="11 of 20 samples"):
        quarantine.check(seen=20)
    quarantine.check(seen=400)
    again = Quarantine(tmp_path / "list", samples=1000, most=0.05, writes=True)
    assert again.listed == quarantine.listed
    assert again.avoided == {10}


# --- workers ---------------------------------------------------------------------------------------------------------

OPTIONS = Path(__file__).parent / "options"


def spoilt(out: Path, harm: str, *more: str) -> Child:
    """Start the toy on data with a harmful sample, and two workers."""
    kept = [word for word in TINY if not word.startswith("data.")]
    data = ["--config-dir", str(OPTIONS), "data=spoilt", f"data.harm={harm}", f"data.notes={out.with_suffix('.notes')}"]
    line = ["train", *kept, *data, f"run.out={out}", "run.workers=2", *more]

    def work() -> int:
        torch.set_num_threads(1)
        return main(line)

    return Child(work, out.with_suffix(".log"))


@pytest.mark.parametrize("harm", ["hang", "segfault"])
def test_a_sample_that_always_does_harm_is_avoided(harm: str, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    child = spoilt(out, harm, "run.data_timeout=3")
    assert child.wait() == 0, child.said
    (entry,) = quarantined(out).values()
    assert (entry["sample"], entry["kind"]) == (20, "hang" if harm == "hang" else "crash")
    assert "twice" in entry["reason"]
    assert out.with_suffix(".notes").read_text() == "2", "tried twice, in three epochs"
    assert [step for step, _ in steps(out)] == list(range(1, 25))
    assert len(events(out, "data")) == 2
    record("F18", f"a sample that always makes its worker {harm}: tried twice, avoided, the run ends", 1)


@pytest.mark.parametrize("harm", ["hang", "kill"])
def test_a_fault_of_the_machine_leaves_no_trace(harm: str, tmp_path: Path, record: Record) -> None:
    out, sound = tmp_path / "run", tmp_path / "sound"
    child = spoilt(out, harm, "data.times=1", "run.data_timeout=3")
    assert child.wait() == 0, child.said
    assert quarantined(out) == {}
    assert len(events(out, "data")) == 1
    same_run = ["run.allow_mismatch=[data]"]
    child = spoilt(sound, harm, "data.times=0", *same_run)
    assert child.wait() == 0, child.said
    same(out, sound)
    record("F18", f"a worker that was made to {harm} once: replaced, bitwise", 1)


def test_without_workers_a_hanging_sample_ends_the_run_and_is_named(tmp_path: Path, record: Record) -> None:
    child = spoilt(tmp_path / "run", "hang", "run.workers=0", "run.data_timeout=2")
    assert child.wait() == REQUEUE, child.said
    assert "error: sample 20 did not load within 2 s; with run.workers=1 it would be avoided" in child.said
    record("F18", "without workers: named, exit 75", 1)


def test_slow_is_not_stuck(tmp_path: Path) -> None:
    """A batch takes longer than the loop looks at its workers, no sample does: it is waited for."""
    child = spoilt(tmp_path / "run", "slow", "run.steps=4", "run.batch_size=24", "run.data_timeout=3")
    assert child.wait() == 0, child.said
    assert events(tmp_path / "run", "data") == []


def test_no_worker_outlives_its_run(tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    child = spoilt(out, "hang", "run.data_timeout=600")
    until(out.with_suffix(".notes").exists, 60, "the worker that hangs")
    assert len(members(child.pid)) >= 3
    child.kill(signal.SIGKILL)
    child.wait()
    until(lambda: not members(child.pid), 10, "all processes of the run gone")
    record("F18", "SIGKILL of the run while a worker hangs: no process is left", 1)
