"""F14, F15: every file is either an image or unreadable, in little time and memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import ImageFile

from faults.harness import Child
from faults.media import BAD, BOMBS, ODD
from modalities.image.observations import ImageFiles, View
from worldjepa.data.paths import PathTable
from worldjepa.errors import Unreadable

Size = Callable[[int, int], int]
Record = Callable[..., None]

VIEW = View(16, 3, (0.3, 1.0))


def files(folder: Path) -> ImageFiles:
    """All files of a folder as observations."""
    return ImageFiles(str(folder), PathTable(sorted(path.name for path in folder.iterdir())), VIEW)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_but_sound_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(ODD[kind](0))
    found = files(tmp_path)
    for rng in (None, torch.Generator().manual_seed(0)):
        view = found.observe(0, rng)
        assert view.dtype is torch.uint8
        assert view.shape == (3, 16, 16)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("tolerant", [False, True])
def test_what_is_damaged_is_unreadable(
    kind: str, tolerant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # as some libraries do for the whole process
    (tmp_path / kind).write_bytes(BAD[kind](0))
    with pytest.raises(Unreadable, match=kind) as caught:
        files(tmp_path).observe(0)
    assert len(str(caught.value)) > len(str(tmp_path / kind)) + 5, "a reason"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is tolerant


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    found = ImageFiles(str(tmp_path), PathTable(["folder.png", "gone.png"]), VIEW)
    for index, why in enumerate(("is a folder", "no such file")):
        with pytest.raises(Unreadable, match=why):
            found.observe(index)
    assert len(found.fingerprint()) == 64
    assert found.name(1) == str(tmp_path / "gone.png")


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(kind: str, tmp_path: Path, record: Record) -> None:
    (tmp_path / kind).write_bytes(BOMBS[kind]())
    assert (tmp_path / kind).stat().st_size < 500_000

    def look() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        try:
            files(tmp_path).observe(0)
        except Unreadable as error:
            print(error)
        else:
            return 3
        seconds = time.monotonic() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kilobytes
        print(f"{seconds:.2f} s, {grown} kB")
        return 0 if seconds < 1 and grown < 300_000 else 4

    child = Child(look, tmp_path / "log")
    assert child.wait() == 0, child.said
    record("F15", f"{kind}: refused within 1 s and 300 MB", 1)


def test_whatever_is_done_to_a_file(
    tmp_path: Path, size: Size, record: Record, capfd: pytest.CaptureFixture[str]
) -> None:
    """Truncated anywhere, bytes changed anywhere: an image or `Unreadable`, never anything else."""
    chance, cases, read = random.Random(7), size(1500, 30_000), 0
    sound = {kind: make(0) for kind, make in ODD.items()}
    kinds = list(sound)
    for case in range(cases):
        kind = kinds[case % len(kinds)]
        data = bytearray(sound[kind])
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        else:
            for _ in range(chance.choice([1, 2, 4, 16])):
                data[chance.randrange(len(data) if chance.random() < 0.5 else min(100, len(data)))] = chance.choice(
                    [0, 255, chance.randrange(256)]
                )
        (tmp_path / kind).write_bytes(data)
        found = ImageFiles(str(tmp_path), PathTable([kind]), VIEW)
        try:
            view = found.observe(0, torch.Generator().manual_seed(case))
        except Unreadable:
            continue
        assert view.shape == (3, 16, 16)
        read += 1
    assert cases // 10 < read < cases
    record("F14", "image files truncated or changed at random", cases)
