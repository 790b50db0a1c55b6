"""F5, F6, F14, F18 on clips: runs on video files end as they would have, whatever comes between."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from video.media import BAD, SOUND, video

from faults.hanging import MARK
from faults.harness import FULL, Child, command, events, members, same, signal_after, some, steps, until
from faults.test_data import OPTIONS, quarantined
from worldjepa.cli import main
from worldjepa.train.exits import REQUEUE

Record = Callable[..., None]

TOY = [
    *("modality=video", "preset=quickstart_video", "arch.patch=4", "arch.dim=24", "arch.encoder.depth=1"),
    *("arch.encoder.heads=2", "arch.predictor.dim=24", "arch.predictor.depth=1", "arch.predictor.heads=2"),
    *("data.size=32", "data.frames=4", "data.stride=2", "data.channels=1", "run.batch_size=8", "run.steps=12"),
    *("run.log_every=1", "run.save_every=4", "run.keep=9", "run.threads=1", "run.accelerator=cpu"),
    *("run.tensorboard=false", "run.report=false", "probe.enabled=false", "run.resume=auto"),
]
"""A V-JEPA of some ten thousand parameters on clips on disk, cropped and mirrored at random."""

PLAIN = ["data=videos", "data.holdout=0.0"]
LAST = "step-00000012"


def write_videos(folder: Path, good: int, hanging: int = 0, bad: bool = False, seed: int = 0) -> dict[str, str]:
    """Write sound videos of all kinds, those that hang a decoder, and one of every unusable kind; returns the last two."""
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    content = {kind: make() for kind, make in SOUND.items()} | {"wide.mp4": video(frames=9, size=(96, 64))}
    kinds, useless = list(content), {}

    def write(kind: str, data: bytes) -> str:
        name = f"{chance.randrange(10**6):06d}-{kind}"
        (folder / name).write_bytes(data)
        return name

    for index in range(good):
        write(kinds[index % len(kinds)], content[kinds[index % len(kinds)]])
    for _ in range(hanging):
        useless[write(f"{MARK}.mp4", content["h264.mp4"])] = MARK
    for kind, make in BAD.items() if bad else ():
        useless[write(kind, make())] = kind
    return useless


def on_videos(out: Path, *more: str, before: Callable[[], object] | None = None, data: tuple[str, ...] = ()) -> Child:
    """Start the toy in a child process; see `faults.harness.start`."""

    def work() -> int:
        torch.set_num_threads(1)
        if before is not None:
            before()
        return main(["train", *(data or PLAIN), *TOY, f"run.out={out}", *more])

    return Child(work, out.with_suffix(".log"))


def interrupted_and_resumed(out: Path, *words: str, at: int = 6, data: tuple[str, ...] = ()) -> None:
    """The same run, stopped by a signal and gone on with."""
    child = on_videos(out, *words, before=lambda: signal_after(at, signal.SIGTERM), data=data)
    assert child.wait() == REQUEUE, child.said
    child = on_videos(out, *words, data=data)
    assert child.wait() == 0, child.said


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos") / "data"
    write_videos(folder, 44)
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy without any fault, two epochs and a bit."""
    out = tmp_path_factory.mktemp("whole") / "run"
    child = on_videos(out, f"data.root={videos}", "run.workers=0")
    assert child.wait() == 0, child.said
    return out


@pytest.mark.parametrize("workers", some(2, 0))
def test_resumed_bitwise(workers: int, videos: Path, whole: Path, tmp_path: Path, record: Record) -> None:
    interrupted_and_resumed(tmp_path / "run", f"data.root={videos}", f"run.workers={workers}", at=7)
    same(tmp_path / "run", whole, LAST)
    record("F6", f"clips on disk, {workers} workers: stopped by a signal, resumed bitwise", 1)


def test_two_processes_are_one(videos: Path, whole: Path, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    words = [f"data.root={videos}", "run.workers=0", "run.devices=2", "run.batch_size=4", f"run.out={out}"]
    with command("-m", "worldjepa", "train", *PLAIN, *TOY, *words, cwd=tmp_path) as process:
        said, _ = process.communicate(timeout=180)
        until(lambda: not members(process.pid), 10, "all processes of the run gone")
    assert process.returncode == 0, said
    mine, theirs = steps(out), steps(whole)
    assert [step for step, _ in mine] == [step for step, _ in theirs] == list(range(1, 13))
    assert [loss for _, loss in mine] == pytest.approx([loss for _, loss in theirs], rel=1e-5)
    record("F5", "clips on disk, one and two processes: losses within 1e-5", 1)


def test_bad_files_are_left_out_and_listed(tmp_path: Path, record: Record) -> None:
    data, one, other = tmp_path / "data", tmp_path / "one", tmp_path / "other"
    bad = write_videos(data, 44, bad=True)
    words = [f"data.root={data}", "data.max_bad_fraction=0.5", "run.workers=0"]
    child = on_videos(one, *words)
    assert child.wait() == 0, child.said
    listed = quarantined(one)
    assert set(listed) == {str(data / name) for name in bad}
    assert all(entry["reason"] and entry["kind"] == "unreadable" for entry in listed.values())
    interrupted_and_resumed(other, *words)
    same(other, one, LAST)
    assert quarantined(other).keys() == listed.keys()
    record("F14", f"{len(bad)} bad among 44 good videos: listed exactly, resumed bitwise", len(bad))


@pytest.mark.skipif(not FULL, reason="part of the whole suite, python -m benchmarks.faults")
def test_files_that_hang_a_decoder_are_avoided(tmp_path: Path, record: Record) -> None:
    data, one, other = tmp_path / "data", tmp_path / "one", tmp_path / "other"
    bad = write_videos(data, 44, hanging=1, bad=True, seed=1)
    options = ("--config-dir", str(OPTIONS), "data=hanging")
    words = [f"data.root={data}", "data.max_bad_fraction=0.5", "run.workers=2", "run.data_timeout=3"]
    child = on_videos(one, *words, data=options)
    assert child.wait() == 0, child.said
    listed = quarantined(one)
    assert set(listed) == {str(data / name) for name in bad}
    kinds = {Path(name).name: entry["kind"] for name, entry in listed.items()}
    assert kinds == {name: "hang" if kind == MARK else "unreadable" for name, kind in bad.items()}
    tried = (tmp_path / "data.notes").read_text().split()
    assert tried == [name for name, kind in bad.items() if kind == MARK] * 2, "tried twice, in two epochs"
    assert len(events(one, "data")) == 2
    interrupted_and_resumed(other, *words, data=options)
    same(other, one, LAST)
    assert quarantined(other).keys() == listed.keys()
    record("F18", "a video that always hangs its decoder: tried twice, avoided, resumed bitwise", 1)
