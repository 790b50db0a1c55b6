"""The published sets of recordings, in tiny copies: labels, splits, and what is said where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layouts.sounds import fsd50k, gtzan, hear, nsynth, sound

from modalities.audio.data import FSD50K, GTZAN, HEAR, NSynth
from worldjepa.errors import Unreadable, UserError


def test_nsynth_has_pitch_and_family(tmp_path: Path) -> None:
    source = NSynth(str(nsynth(tmp_path)), frames=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [12, 12, 3, 6]
    assert list(test.factors) == ["pitch", "family"]
    assert test.factors["family"].names == ["bass", "brass", "flute"]
    for part in (train, val, test):
        for i in range(len(part)):
            name = part.name(i).rsplit("/", 1)[1]
            family, pitch = (labels.names[labels.index[i]] for labels in reversed(part.factors.values()))
            assert name.startswith(f"{family}_acoustic")
            assert name.endswith(f"-{int(pitch):03d}-100.wav")
    assert "nsynth-test/audio/" in test.name(0)
    assert test.observe(0).shape == (1, 8, 80)


def test_nsynth_says_what_is_wrong(tmp_path: Path) -> None:
    source = NSynth(str(nsynth(tmp_path)))
    listed = tmp_path / "nsynth-test/examples.json"
    notes = json.loads(listed.read_text())
    next(iter(notes.values()))["instrument_family_str"] = "basso"
    listed.write_text(json.dumps(notes))
    with pytest.raises(UserError, match=r"family 'basso' is not known \(did you mean 'bass'\?\)"):
        source.probe()
    listed.write_text(json.dumps({"a": {"pitch": "60", "instrument_family_str": "bass"}}))
    with pytest.raises(UserError, match="'pitch' is of another kind"):
        source.probe()
    listed.write_text(json.dumps({"a": {"pitch": 60, "instrument_family_str": "bass"}}))
    with pytest.raises(
        UserError, match=r"none of 1 listed recordings is there, beginning with .*nsynth-test/audio/a.wav"
    ):
        source.probe()
    (tmp_path / "nsynth-train/examples.json").unlink()
    with pytest.raises(
        UserError, match=r"nsynth-train/examples.json does not exist.*expected nsynth-\{train,valid,test\}"
    ):
        NSynth(str(tmp_path))


def test_fsd50k_gives_all_labels_of_the_published_splits(tmp_path: Path) -> None:
    source = FSD50K(str(fsd50k(tmp_path)), frames=8)
    assert source.probe() is None
    assert source.train().factors == {}
    train, val, test = source.tagged()
    assert [len(part.files) for part in (train, val, test)] == [6, 2, 4]
    assert test.names == ["Animal", "Bark", "Dog", "Meow", "Rain"]
    assert test.members.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 1, 0], [0] * 5]
    assert val.members.tolist() == [[1, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert [val.files.name(i).rsplit("/", 2)[1:] for i in range(2)] == [
        ["FSD50K.dev_audio", "102.wav"],
        ["FSD50K.dev_audio", "105.wav"],
    ]
    assert test.files.name(0).endswith("FSD50K.eval_audio/100.wav")
    assert train.files.fingerprint() == source.train().fingerprint()


def test_fsd50k_says_what_is_wrong(tmp_path: Path) -> None:
    source = FSD50K(str(fsd50k(tmp_path)))
    (tmp_path / "FSD50K.eval_audio/101.wav").unlink()
    with pytest.warns(UserWarning, match="1 of 4 listed recordings are not there"):
        test = source.tagged().test
    assert test.members.sum(1).tolist() == [3, 2, 0]
    lists = tmp_path / "FSD50K.ground_truth"
    (lists / "eval.csv").write_text('fname,labels,mids\n100,"Barks","/m/1"\n')
    with pytest.raises(UserError, match=r"eval.csv: class 'Barks' is not known \(did you mean 'Bark'\?\)"):
        source.tagged()
    (lists / "dev.csv").write_text('fname,labels,mids,split\n100,"Bark","/m/1",test\n')
    with pytest.raises(UserError, match="'test' is no split; allowed: train, val"):
        FSD50K(str(tmp_path))
    (lists / "dev.csv").unlink()
    with pytest.raises(UserError, match=r"dev.csv does not exist.*FSD50K.eval_audio/NAME.wav"):
        FSD50K(str(tmp_path))


def test_gtzan_holds_out_a_part_of_every_genre(tmp_path: Path) -> None:
    source = GTZAN(str(gtzan(tmp_path)), frames=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [16, 12, 4, 4]
    assert test.factors["class"].names == ["blues", "jazz"]
    assert sorted(test.factors["class"].index) == [0, 0, 1, 1]
    assert not {test.name(i) for i in range(4)} & {source.train().name(i) for i in range(16)}
    assert GTZAN(str(tmp_path / "genres"), frames=8, holdout=0).probe() is None


def test_gtzans_broken_recording_is_named_and_not_fatal(tmp_path: Path) -> None:
    files = GTZAN(str(gtzan(tmp_path)), frames=8, holdout=0).train()
    unread = []
    for i in range(len(files)):
        try:
            assert files.observe(i).shape == (1, 8, 80)
        except Unreadable as error:
            unread.append(str(error))
    assert len(unread) == 1
    assert "genres/jazz/jazz.00054.wav: cannot be decoded as a sound" in unread[0]


def test_gtzan_obeys_the_filtered_lists(tmp_path: Path) -> None:
    source = GTZAN(str(gtzan(tmp_path, lists=True)), lists=str(tmp_path), frames=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [6, 6, 2, 4]
    assert [train.name(i).rsplit("/", 1)[1] for i in range(3)] == [
        "jazz.00053.wav",
        "blues.00053.wav",
        "jazz.00050.wav",
    ]
    assert train.factors["class"].index.tolist() == [1, 0] * 3
    (tmp_path / "test_filtered.txt").write_text("jazz/jazz.00061.wav\n")
    with pytest.raises(UserError, match=r"1 of 1 recordings in .*test_filtered.txt are not in .*: jazz/jazz.00061"):
        GTZAN(str(tmp_path), lists=str(tmp_path))
    with pytest.raises(UserError, match=r"train_filtered.txt does not exist.*valid_filtered.txt"):
        GTZAN(str(tmp_path), lists=str(tmp_path / "genres"))
    sound(tmp_path / "genres/stray.wav")
    with pytest.raises(UserError, match="must hold one folder of recordings for each genre"):
        GTZAN(str(tmp_path))


def test_hear_has_published_splits(tmp_path: Path) -> None:
    source = HEAR(str(hear(tmp_path)), "beehive", frames=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [4, 4, 4, 4]
    assert test.factors["class"].names == ["none", "queen", "swarm"]  # in the vocabulary's own order
    assert test.factors["class"].index.tolist() == [0, 1, 0, 1]
    assert test.name(1).endswith("beehive/48000/test/1.wav")
    assert source.tagged().val.members.tolist() == [[1, 0, 0], [0, 1, 0]] * 2
    sound(tmp_path / "beehive/16000/train/0.wav")
    with pytest.warns(UserWarning, match="3 of 4 listed recordings are not there"):
        assert HEAR(str(tmp_path), "beehive", rate=16_000).train().name(0).endswith("16000/train/0.wav")
    with pytest.raises(UserError, match=r"rate 8000 is not in .*beehive; allowed: 48000, 16000"):
        HEAR(str(tmp_path), "beehive", rate=8_000)
    with pytest.raises(UserError, match="has no folds, but published splits: leave out fold=0"):
        HEAR(str(tmp_path), "beehive", fold=0)


def test_hear_holds_out_folds(tmp_path: Path) -> None:
    root = str(hear(tmp_path, folds=5))
    for fold, parts in ((0, ({"2", "3", "4"}, {"1"}, {"0"})), (4, ({"1", "2", "3"}, {"0"}, {"4"}))):
        splits = HEAR(root, "beehive", fold, frames=8).probe()
        for split, folds in zip(splits, parts, strict=True):
            assert {split.name(i).rsplit("/", 2)[1] for i in range(len(split))} == {f"fold0{one}" for one in folds}
    with pytest.raises(UserError, match="fold must be 0 to 4: 5"):
        HEAR(root, "beehive", 5)


def test_hear_with_several_labels(tmp_path: Path) -> None:
    source = HEAR(str(hear(tmp_path, several=True)), "beehive", frames=8)
    assert source.probe() is None
    assert source.tagged().test.members.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]]


def test_hear_says_what_is_wrong(tmp_path: Path) -> None:
    root = hear(tmp_path / "a")
    with pytest.raises(UserError, match=r"task 'beehives' is not known \(did you mean 'beehive'\?\)"):
        HEAR(str(root), "beehives")
    with pytest.raises(UserError, match="is about events in time"):
        HEAR(str(hear(tmp_path / "b", embedding="event")), "beehive")
    for content, message in (
        ({"0.wav": ["queens"]}, r"train.json, 0.wav: label 'queens' is not known \(did you mean 'queen'"),
        ({"0.wav": ["queen", "none"]}, "2 labels in a task in which each recording has one"),
        ({"0.wav": "queen"}, "a list of labels expected, found queen"),
    ):
        (root / "beehive/train.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            HEAR(str(root), "beehive")
    (root / "beehive/train.json").unlink()
    with pytest.raises(UserError, match=r"train.json does not exist.*TASK/task_metadata.json"):
        HEAR(str(root), "beehive")
    (root / "beehive/labelvocabulary.csv").write_text("idx,label\n1,queen\n")
    with pytest.raises(UserError, match="'idx' must be 0 to 0"):
        HEAR(str(root), "beehive")
