"""The benchmark of the video pipeline: all contenders read the same frames, and memory is told as often as asked."""

from __future__ import annotations

import queue
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clips import (
    DECODERS,
    FRAMES,
    all_bare,
    all_ours,
    check_same_frames,
    chosen,
    in_use,
    memory,
    ours,
    write,
)
from benchmarks.photos import PHOTOS


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{photo}.mp4" for photo in PHOTOS[:2]]
    for photo, path in zip(PHOTOS, paths, strict=False):
        write(path, photo, 128, 96)
    return [str(path) for path in paths]


def test_all_read_the_same_frames(paths: list[str]) -> None:
    check_same_frames(paths)
    for decoder in DECODERS:
        files = ours(paths, decoder)
        assert files.shape == (3, 16, 224, 224)
        all_ours(files)
        all_bare(decoder, paths)


def test_frames_are_every_fourth_from_anywhere() -> None:
    starts = {chosen(index)[0] for index in range(40)}
    assert all(np.diff(chosen(index)).tolist() == [4] * (FRAMES - 1) for index in range(40))
    assert len(starts) > 15
    assert max(starts) < 96 - 60


def test_other_frames_are_noticed(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import clips

    monkeypatch.setitem(clips.BARE, "pyav", lambda path, frames: clips.bare_pyav(path, [*frames[:-1], frames[-1] - 3]))
    with pytest.raises(AssertionError):
        check_same_frames(paths)


def test_memory_is_told(tmp_path: Path, paths: list[str]) -> None:
    answer: queue.Queue[list[tuple[float, float]]] = queue.Queue()
    memory(paths, "pyav", 6, 2, answer)  # type: ignore[arg-type]
    told = answer.get()
    assert len(told) == 3
    assert all(resident > used > 10 for resident, used in told)
    kept = [bytearray(1 << 20) for _ in range(20)]
    before = in_use()
    del kept
    assert before - in_use() == pytest.approx(20 * 1.048576, abs=2)
