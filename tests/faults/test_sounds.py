"""F4, F5, F14, F18 for sounds: exact on recordings on disk, whatever is among them."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from train.toy import MODEL

from faults.harness import Child, command, events, members, same, signal_after, some, steps, until
from faults.noises import BAD, ODD, corrupt_sounds
from faults.test_data import OPTIONS, quarantined
from faults.test_many import TWO, close

# Imported here, so that children are forked with it.
from modalities.audio.files import SoundFiles, checked_view
from worldjepa.cli import main
from worldjepa.data.paths import PathTable
from worldjepa.errors import Unreadable
from worldjepa.train.exits import REQUEUE

Size = Callable[[int, int], int]
Record = Callable[..., None]

VIEW = checked_view("small_16k", 32, None)

SOUNDS = [
    *MODEL,
    *("modality=audio", "method=ijepa", "preset=quickstart", "data=sounds", "arch.patch=8"),
    *("run.batch_size=8", "run.log_every=1", "run.save_every=4", "run.keep=9", "run.steps=24"),
    *(
        "run.threads=1",
        "run.accelerator=cpu",
        "run.tensorboard=false",
        "run.report=false",
        "probe.enabled=false",
        "run.resume=auto",
    ),
    "data.max_bad_fraction=0.5",
]
"""The toy on recordings: 4 x 8 tokens."""

SMALL = ["data.front_end=small_16k", "data.frames=32", "data.holdout=0.0"]

LAST = "step-00000024"


def line(out: Path, data: Path, *more: str) -> list[str]:
    """The command line of the toy on a folder of recordings."""
    return ["train", *SOUNDS, f"data.root={data}", f"run.out={out}", *more]


def on_sounds(out: Path, data: Path, *more: str, before: Callable[[], object] | None = None) -> Child:
    """Start the toy on a folder of recordings; see `faults.harness.start`."""

    def work() -> int:
        torch.set_num_threads(1)
        if before is not None:
            before()
        return main(line(out, data, *more))

    return Child(work, out.with_suffix(".log"))


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sound recordings of all kinds."""
    root = tmp_path_factory.mktemp("recordings") / "data"
    assert set(corrupt_sounds(root, 63, each=0)) == set()
    return root


@pytest.fixture(scope="session")
def heard(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on them without any fault."""
    out = tmp_path_factory.mktemp("heard") / "run"
    child = on_sounds(out, recordings, *SMALL, "run.workers=0")
    assert child.wait() == 0, child.said
    assert len(set(steps(out))) == 24
    assert quarantined(out) == {}
    return out


@pytest.mark.parametrize("workers", some((2, 1), (0, 0)))
def test_recordings_resume_bitwise(
    workers: tuple[int, int], recordings: Path, heard: Path, tmp_path: Path, record: Record
) -> None:
    """F4: stopped after step 10, in the second epoch, and on with another number of data workers."""
    out, (before, after) = tmp_path / "run", workers
    child = on_sounds(out, recordings, *SMALL, f"run.workers={before}", before=lambda: signal_after(10, signal.SIGTERM))
    assert child.wait() == REQUEUE, child.said
    child = on_sounds(out, recordings, *SMALL, f"run.workers={after}")
    assert child.wait() == 0, child.said
    same(out, heard)
    record("F4", f"recordings, {before} then {after} data workers: bitwise", 1)


def test_two_processes_are_one(recordings: Path, heard: Path, tmp_path: Path, record: Record) -> None:
    """F5: the same recordings, stretches and masks on two processes: losses within 1e-5."""
    out = tmp_path / "run"
    words = line(out, recordings, *SMALL, *TWO, "run.workers=0")
    with command("-m", "worldjepa", *words, cwd=tmp_path) as process:
        said, _ = process.communicate(timeout=180)
        until(lambda: not members(process.pid), 10, "all processes of the run gone")
    assert process.returncode == 0, said
    close(out, heard)
    record("F5", "recordings on two processes: losses within 1e-5", 1)


@pytest.mark.parametrize("workers", some(2, 0))
def test_bad_recordings_are_left_out_and_listed(workers: int, tmp_path: Path, record: Record) -> None:
    """F14: the bad ones, and no others; stopped in the middle, bitwise."""
    data, one, other = tmp_path / "data", tmp_path / "one", tmp_path / "other"
    bad = corrupt_sounds(data, 42, each=1)
    passes = -(-(42 + len(bad)) // 8)
    words = [*SMALL, f"run.workers={workers}", f"run.steps={passes}"]
    child = on_sounds(one, data, *words)
    assert child.wait() == 0, child.said
    listed = quarantined(one)
    assert set(listed) == {str(data / name) for name in bad}
    assert all(entry["kind"] == "unreadable" for entry in listed.values())
    assert [step for step, _ in steps(one)] == list(range(1, passes + 1))
    reasons = {kind: listed[str(data / name)]["reason"] for name, kind in bad.items()}
    for kind, why in {
        "empty.wav": "is empty",
        "one.wav": "too short",
        "less-than-a-window.wav": "less than 0.040 s",
        "nan.wav": "not finite",
        "infinite.wav": "not finite",
        "half.flac": "cannot be decoded",
        "half.mp3": "ends after",
        "hundred-channels.wav": "100 channels are more than the 64 allowed",
    }.items():
        assert why in reasons[kind], reasons[kind]
    child = on_sounds(other, data, *words, before=lambda: signal_after(passes // 2, signal.SIGTERM))
    assert child.wait() == REQUEUE, child.said
    child = on_sounds(other, data, *words)
    assert child.wait() == 0, child.said
    same(other, one, f"step-{passes:08d}")
    assert quarantined(other).keys() == listed.keys()
    record(
        "F14", f"{len(bad)} bad among 42 good recordings, {workers} workers: listed exactly, resumed bitwise", len(bad)
    )


@pytest.mark.parametrize("times", some(1, 99))
def test_a_recording_that_hangs(times: int, recordings: Path, heard: Path, tmp_path: Path, record: Record) -> None:
    """F18: one that always hangs is tried twice and avoided; one that hung once leaves no trace."""
    out = tmp_path / "run"
    notes = out.with_suffix(".notes")
    child = on_sounds(
        out,
        recordings,
        *("--config-dir", str(OPTIONS), "data=spoilt_sounds", f"data.notes={notes}", f"data.times={times}"),
        *("run.workers=2", "run.data_timeout=3"),
    )
    assert child.wait() == 0, child.said
    assert [step for step, _ in steps(out)] == list(range(1, 25))
    if times == 1:
        assert quarantined(out) == {}
        assert len(events(out, "data")) == 1
        same(out, heard)
    else:
        (entry,) = quarantined(out).values()
        assert (entry["sample"], entry["kind"]) == (5, "hang")
        assert notes.read_text() == "2", "tried twice, in three epochs"
        assert steps(out) != steps(heard), "another recording is heard in its place"
    record("F18", f"a recording that hangs {'once' if times == 1 else 'always'}", 1)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_but_sound_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(ODD[kind](0))
    files = SoundFiles(str(tmp_path), PathTable([kind]), VIEW)
    for rng in (None, torch.Generator().manual_seed(0)):
        view = files.observe(0, rng)
        assert view.shape == (1, 32, 64)
        assert view.isfinite().all()


@pytest.mark.parametrize("kind", BAD)
def test_what_is_damaged_is_unreadable(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(BAD[kind](0))
    with pytest.raises(Unreadable, match=kind) as caught:
        SoundFiles(str(tmp_path), PathTable([kind]), VIEW).observe(0)
    assert len(str(caught.value)) > len(str(tmp_path / kind)) + 5, "a reason"


def test_whatever_is_done_to_a_recording(tmp_path: Path, size: Size, record: Record) -> None:
    """F14: truncated anywhere, bytes changed anywhere: a finite view or `Unreadable`, never anything else."""
    chance, cases, read = random.Random(11), size(600, 12_000), 0
    sound = {kind: make(0) for kind, make in ODD.items()}
    kinds = list(sound)
    for case in range(cases):
        kind = kinds[case % len(kinds)]
        data = bytearray(sound[kind])
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        else:
            for _ in range(chance.choice([1, 2, 4, 16])):
                place = chance.randrange(len(data) if chance.random() < 0.5 else min(100, len(data)))
                data[place] = chance.choice([0, 255, chance.randrange(256)])
        (tmp_path / kind).write_bytes(data)
        try:
            view = SoundFiles(str(tmp_path), PathTable([kind]), VIEW).observe(0, torch.Generator().manual_seed(case))
        except Unreadable:
            continue
        assert view.shape == (1, 32, 64)
        assert view.isfinite().all()
        read += 1
    assert cases // 10 < read < cases
    record("F14", "sound files truncated or changed at random", cases)
