"""The published sets of videos, in tiny copies: labels, splits, frames, and what is said where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from layouts.videos import diving48, epic100, jester, video
from PIL import Image

from modalities.video.data import Diving48, EpicKitchens, Jester
from modalities.video.frames import Timeline
from modalities.video.segments import bare, part, within
from worldjepa.errors import Unreadable, UserError

SMALL = {"size": 16, "crop_scale": None}


def shown(clip: torch.Tensor) -> list[int]:
    """Which frames these are, by their shade."""
    return [round((float(one.float().mean()) - 20) / 8) for one in clip[0]]


def test_diving_takes_the_listed_frames(tmp_path: Path) -> None:
    source = Diving48(str(diving48(tmp_path)), frames=4, stride=2, **SMALL)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [8, 6, 2, 4]
    assert test.factors["class"].names == ["9", "10"]  # by their value
    assert test.factors["class"].index.tolist() == [0, 1, 0, 1]
    assert test.name(1).endswith("rgb/test_00001.mp4#4-12")
    assert shown(test.observe(0)) == [3, 5, 7, 9]
    assert shown(test.observe(1)) == [5, 7, 9, 11]
    rng = torch.Generator().manual_seed(0)
    drawn = {shown(test.observe(1, rng))[0] for _ in range(12)}
    assert drawn == {4, 5}
    assert not {train.name(i) for i in range(6)} & {val.name(i) for i in range(2)}


def test_a_short_segment_is_held_and_one_beyond_the_video_is_unreadable(tmp_path: Path) -> None:
    root = diving48(tmp_path)
    listed = [
        {"vid_name": "test_00000", "label": 9, "start_frame": first, "end_frame": end}
        for first, end in ((2, 4), (11, 40), (12, 20))
    ]
    (root / "Diving48_V2_test.json").write_text(json.dumps(listed))
    test = Diving48(str(root), frames=4, stride=1, **SMALL).probe().test
    assert [shown(test.observe(i)) for i in (0, 1)] == [[2, 3, 3, 3], [11] * 4]
    with pytest.raises(Unreadable, match=r"rgb/test_00000.mp4: has 12 frames, and its part begins at frame 12"):
        test.observe(2)


def test_diving_says_what_is_wrong(tmp_path: Path) -> None:
    root = diving48(tmp_path)
    (root / "rgb/train_00002.mp4").unlink()
    with pytest.warns(UserWarning, match="1 of 8 listed videos are not there"):
        assert len(Diving48(str(root), **SMALL).train()) == 7
    video(root / "rgb/train_00002.mp4")
    (root / "Diving48_V2_test.json").rename(root / "Diving48_test.json")
    with pytest.raises(
        UserError, match=r"Diving48_V2_test.json does not exist.*did you mean .*with the videos rgb/NAME.mp4"
    ):
        Diving48(str(root))
    entry = {"vid_name": "train_00000", "label": 9, "start_frame": 5, "end_frame": 5}
    for wrong, message in (
        (entry, "entry 0: frames 5 to 5 of class 9 cannot be"),
        ({**entry, "label": "9"}, "'label' is of another kind"),
        ({"vidname": "x", "label": 1, "start_frame": 0, "end_frame": 1}, r"no 'vid_name' \(did you mean 'vidname'"),
    ):
        (root / "Diving48_V2_train.json").write_text(json.dumps([wrong]))
        with pytest.raises(UserError, match=message):
            Diving48(str(root))


def test_jester_reads_folders_of_frames(tmp_path: Path) -> None:
    source = Jester(str(jester(tmp_path)), frames=3, stride=2, **SMALL)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [12, 10, 2, 4]
    assert test.factors["class"].names == ["Swiping Left", "Swiping Right", "No gesture"]
    assert test.factors["class"].index.tolist() == [0, 1, 0, 1]
    assert test.name(0).endswith("20bn-jester-v1/20")
    assert shown(test.observe(0)) == [1, 3, 5]
    by_time = Jester(str(tmp_path), frames=2, fps=4.0, **SMALL).train()
    assert shown(by_time.observe(0)) == [1, 4]
    folder = tmp_path / "20bn-jester-v1"
    before = source.train().fingerprint()
    (folder / "1/00006.jpg").unlink()
    assert source.train().fingerprint() != before


def test_frames_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    source = Jester(str(jester(tmp_path)), frames=6, stride=1, **SMALL)
    folder = tmp_path / "20bn-jester-v1"
    (folder / "20/00003.jpg").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(folder / "21/00002.jpg")
    for one in (folder / "22").iterdir():
        one.unlink()
    test = source.probe().test
    for i, message in enumerate(
        ("20/00003.jpg: cannot be decoded", "21: its frames differ in size", "22: holds no frames")
    ):
        with pytest.raises(Unreadable, match=message):
            test.observe(i)
    with pytest.raises(Unreadable, match=r"20bn-jester-v1/23: is too short: it has 6 frames"):
        Jester(str(tmp_path), frames=6, stride=2, short="refuse", **SMALL).probe().test.observe(3)


def test_jester_says_what_is_wrong(tmp_path: Path) -> None:
    root = jester(tmp_path)
    (root / "jester-v1-validation.csv").write_text("20;Swiping Left\n21,Swiping Right\n")
    with pytest.raises(UserError, match=r"jester-v1-validation.csv, line 2: 2 column\(s\) expected, found 1"):
        Jester(str(root))
    (root / "jester-v1-validation.csv").write_text("20;Swiping Lef\n")
    with pytest.raises(UserError, match="'Swiping Lef' is a class of no training video"):
        Jester(str(root))
    (root / "jester-v1-labels.csv").unlink()
    with pytest.raises(UserError, match=r"jester-v1-labels.csv does not exist.*20bn-jester-v1/ID/00001.jpg"):
        Jester(str(root))
    with pytest.raises(UserError, match=r"did you mean '20bn-jester-v1'"):
        Jester(str(root), videos="20bn-jester")


def test_epic_shows_what_comes_before_an_action(tmp_path: Path) -> None:
    """At 12 frames a second, half a second before frame 18 ends with frame 11."""
    test = EpicKitchens(str(epic100(tmp_path)), ahead=0.5, frames=4, fps=6.0, **SMALL).probe().test
    assert test.name(0).endswith("P01/videos/P01_02.MP4#18-24")
    assert shown(test.observe(0)) == [5, 7, 9, 11]
    assert shown(test.observe(0, torch.Generator().manual_seed(0))) == [5, 7, 9, 11]
    assert shown(test.observe(1))[0] == 0  # nothing is before the beginning: what there is is held
    by_stride = EpicKitchens(str(tmp_path), ahead=0.5, frames=4, fps=None, stride=3, **SMALL).probe().test
    assert shown(by_stride.observe(0)) == [2, 5, 8, 11]
    now = EpicKitchens(str(tmp_path), ahead=None, frames=3, fps=None, stride=2, **SMALL).probe().test
    assert shown(now.observe(0)) == [19, 21, 23]
    assert len({files.fingerprint() for files in (test, by_stride, now)}) == 3


def test_epic_has_verbs_and_nouns_and_their_pairs(tmp_path: Path) -> None:
    source = EpicKitchens(str(epic100(tmp_path)), **SMALL)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [8, 6, 2, 2]
    assert {name: labels.names for name, labels in test.factors.items()} == {
        "action": ["0,11", "3,2", "3,11"],  # the last is only to test on
        "verb": ["0", "3"],
        "noun": ["2", "11"],
    }
    assert [labels.index.tolist() for labels in test.factors.values()] == [[0, 2], [0, 1], [1, 1]]
    assert [labels.index.tolist()[:2] for labels in source.train().factors.values()] == [[0, 1], [0, 1], [1, 0]]


def test_epic_says_what_is_wrong(tmp_path: Path) -> None:
    root = epic100(tmp_path)
    with pytest.raises(UserError, match="ahead must be seconds, 0 or more, or null"):
        EpicKitchens(str(root), ahead=-1.0)
    with pytest.raises(UserError, match="clips=2 needs ahead=null"):
        EpicKitchens(str(root), clips=2)
    listed = root / "EPIC_100_validation.csv"
    text = listed.read_text()
    listed.write_text(text.replace("verb_class", "verb_clas"))
    with pytest.raises(UserError, match=r"no column 'verb_class' \(did you mean 'verb_clas'"):
        EpicKitchens(str(root))
    listed.write_text(text.replace(",18,24,", ",18,x,"))
    with pytest.raises(UserError, match=r"EPIC_100_validation.csv, row 2: .* must be whole numbers"):
        EpicKitchens(str(root))
    listed.write_text(text)
    (root / "P01/videos/P01_02.MP4").rename(root / "P01/videos/P01_03.MP4")
    with pytest.raises(UserError, match=r"none of 2 listed videos is there.*did you mean 'P01_0"):
        EpicKitchens(str(root))
    listed.unlink()
    with pytest.raises(UserError, match=r"EPIC_100_validation.csv does not exist.*videos P01/videos/P01_01.MP4"):
        EpicKitchens(str(root))


def test_parts_are_named_by_their_frames() -> None:
    assert bare(part("a#b/c.mp4", 3, 12)) == "a#b/c.mp4"
    assert bare("a#1/c.mp4") == "a#1/c.mp4"
    timeline = Timeline(torch.arange(5).double().numpy() / 10, 0.5)
    assert within(timeline, 1, 3).starts.tolist() == [0.1, 0.2]
    assert [within(timeline, 1, end).end for end in (3, 9)] == pytest.approx([0.3, 0.5])
