"""Every file is either read rightly or said to be unreadable, with the reason, by both libraries."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalities.video import decode
from modalities.video.decode import Decoder, check_decoder, check_file, read_clip
from modalities.video.encode import write_video
from modalities.video.frames import Timeline
from video.media import BAD, FRAMES, SOUND, damaged, frame, rotated, video
from worldjepa.errors import Unreadable, UserError

BOTH: tuple[Decoder, ...] = ("decord", "pyav")


def saved(tmp_path: Path, name: str, data: bytes) -> str:
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


def grey(frames: np.ndarray) -> list[int]:
    """Which frames these are, by their shade."""
    return [round((float(one[24:, 32:].mean()) - 20) / 8) for one in frames]


@pytest.mark.parametrize("decoder", BOTH)
@pytest.mark.parametrize("name", SOUND)
def test_sound_files_give_the_frames_asked_for(name: str, decoder: Decoder, tmp_path: Path) -> None:
    path = saved(tmp_path, name, SOUND[name]())
    seen: list[Timeline] = []

    def choose(timeline: Timeline) -> list[int]:
        seen.append(timeline)
        return [17, 3, 3, 0, 9]

    frames = read_clip(path, choose, decoder)
    assert frames.dtype == np.uint8
    assert frames.shape == (5, 48, 64, 3)
    assert grey(frames) == [17, 3, 3, 0, 9]
    assert frames[0, 2:8, 2:8].mean() > 240
    (timeline,) = seen
    assert timeline.count == FRAMES
    np.testing.assert_allclose(timeline.starts, np.arange(FRAMES) / 12, atol=2e-3)
    assert timeline.end == pytest.approx(FRAMES / 12, abs=2e-3)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("decoder", [*BOTH, "auto"])
def test_bad_files_are_unreadable_and_say_why(name: str, decoder: Decoder, tmp_path: Path) -> None:
    path = saved(tmp_path, name, BAD[name]())
    with pytest.raises(Unreadable) as caught:
        read_clip(path, lambda timeline: [0, timeline.count - 1], decoder)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) > len(path) + 5
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoder", [*BOTH, "auto"])
@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_damage_never_escapes(kind: str, share: float, decoder: Decoder, tmp_path: Path) -> None:
    path = saved(tmp_path, "x", damaged(video(kind, "mpeg4" if kind == "avi" else "libx264"), share))
    try:
        frames = read_clip(path, lambda timeline: range(timeline.count), decoder)
    except Unreadable:
        return
    assert frames.shape[1:] == (48, 64, 3)


def test_reasons_are_plain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    cases = {
        "pipe.mp4": "is not a regular file",
        "": "is a folder",
        "gone.mp4": "no such file",
        "empty.mp4": "is empty",
        "text.mp4": "first bytes",
        "cut-off.mp4": "cut off",
        "cut-off.mkv": "cut off",
    }
    for name, reason in cases.items():
        if name in BAD:
            saved(tmp_path, name, BAD[name]())
        with pytest.raises(Unreadable, match=reason):
            read_clip(str(tmp_path / name), lambda timeline: [0])
    with pytest.raises(Unreadable, match="no such file"):
        read_clip("http://127.0.0.1:9/video.mp4", lambda timeline: [0])
    with pytest.raises(Unreadable, match="no video stream"):
        read_clip(saved(tmp_path, "sound.mp4", BAD["sound-only.mp4"]()), lambda timeline: [0])


@pytest.mark.parametrize("kind", ["mp4", "matroska", "webm", "avi"])
def test_a_file_is_cut_off_wherever_it_is_cut(kind: str, tmp_path: Path) -> None:
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(kind, "libx264")
    data = video(kind, codec, frames=6)
    check_file(saved(tmp_path, "whole", data))
    for length in (13, len(data) // 3, len(data) // 2, len(data) - 60, len(data) - 9):
        with pytest.raises(Unreadable, match="cut off"):
            check_file(saved(tmp_path, "part", data[:length]))


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_videos_stand_upright(degrees: int, corner: tuple[int, int], tmp_path: Path) -> None:
    path = saved(tmp_path, "x.mp4", rotated(degrees))
    frames = read_clip(path, lambda timeline: [5])
    rows, columns = (slice(0, 8) if place == 0 else slice(-8, None) for place in corner)
    assert frames.shape == ((1, 48, 64, 3) if degrees == 180 else (1, 64, 48, 3))
    assert frames[0, rows, columns].mean() > 240
    assert (frames[0] > 200).mean() == pytest.approx(1 / 16, abs=0.01)


def test_uneven_frame_rates_keep_their_times(tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 540, 1000]
    path = saved(tmp_path, "x.mkv", video("matroska", frames=6, times=times))
    for decoder in BOTH:
        seen: list[Timeline] = []
        frames = read_clip(path, lambda timeline: seen.append(timeline) or range(6), decoder)  # type: ignore[func-returns-value]  # noqa: B023
        assert grey(frames) == list(range(6))
        np.testing.assert_allclose(seen[0].starts, np.array(times) / 1000, atol=2e-3)


@pytest.mark.parametrize("size", [(48, 48), (64, 48), (340, 256), (50, 66)])
def test_what_decord_cannot_do_pyav_does(size: tuple[int, int], tmp_path: Path) -> None:
    # decord 0.6 fails on frames of 48 and some other widths.
    path = saved(tmp_path, "x.mp4", video(size=size, frames=3))
    assert read_clip(path, lambda timeline: [1]).shape == (1, size[1], size[0], 3)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.mp4", video(frames=1))
    for decoder in BOTH:
        assert grey(read_clip(path, lambda timeline: [0] * timeline.count, decoder)) == [0]


def test_each_library_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def failing(name: str) -> Any:
        def read(path: str, choose: Any) -> np.ndarray:
            tried.append(name)
            raise Unreadable(f"{name} says no")

        return read

    decode.readers()
    monkeypatch.setattr(decode, "READERS", {name: failing(name) for name in BOTH})
    path = saved(tmp_path, "x.mp4", video(frames=1))
    with pytest.raises(Unreadable, match="pyav says no"):
        read_clip(path, lambda timeline: [0])
    assert tried == ["decord", "pyav"]


def test_a_refusal_is_final(tmp_path: Path) -> None:
    asked = 0

    def choose(timeline: Timeline) -> list[int]:
        nonlocal asked
        asked += 1
        raise Unreadable("is too short")

    with pytest.raises(Unreadable, match=r"x\.mp4: is too short"):
        read_clip(saved(tmp_path, "x.mp4", video(frames=1)), choose)
    assert asked == 1


def test_the_library_is_chosen_by_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode.readers() == BOTH
    assert (check_decoder("decord"), check_decoder("auto")) == ("decord", "auto")
    with pytest.raises(UserError, match="auto, decord or pyav"):
        check_decoder("ffmpeg")

    black = lambda path, choose: np.zeros((8, 64, 64, 3), np.uint8)  # noqa: E731
    try:
        for works in (False, True):
            decode.readers.cache_clear()
            if works:  # the library is missing
                monkeypatch.setitem(sys.modules, "decord", None)
            else:  # it decodes, but not what is there
                monkeypatch.setitem(decode.READERS, "decord", black)
            assert decode.readers() == ("pyav",)
            with pytest.raises(UserError, match="decoder=decord"):
                check_decoder("decord")
            monkeypatch.undo()
    finally:
        decode.readers.cache_clear()


def test_encoding_is_repeatable(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(60, 200, (6, 32, 48)).astype(np.uint8)
    kept = []
    for number in range(12):
        video(frames=2)  # moves things about in memory
        write_video(tmp_path / f"{number}.mp4", clip, crf=4)
        kept.append(rng.integers(0, 256, 1000 * number + 1))
    files = {(tmp_path / f"{number}.mp4").read_bytes() for number in range(12)}
    assert len(files) == 1
    read = read_clip(str(tmp_path / "0.mp4"), lambda timeline: range(6))
    assert abs(read.astype(int) - clip[..., None]).mean() < 2


def test_colours_are_encoded_too(tmp_path: Path) -> None:
    clip = np.stack([frame(number) for number in range(5)])
    write_video(tmp_path / "a.mp4", clip)
    read = read_clip(str(tmp_path / "a.mp4"), lambda timeline: range(5))
    assert abs(read.astype(int) - clip).mean() < 2
    assert grey(read) == list(range(5))
