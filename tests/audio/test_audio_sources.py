"""Data sets in the layouts that they are unpacked in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from modalities.audio.audioset import AudioSet, clip_id
from modalities.audio.commands import SpeechCommands
from modalities.audio.folds import ESC50, UrbanSound8K
from worldjepa.errors import UserError


def sounds(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.full(1_600, 0.1, np.float32), 16_000)


def esc50(root: Path, folds: int = 5) -> Path:
    names = [f"{fold}-{take}-A-{kind}.wav" for fold in range(1, folds + 1) for take in range(2) for kind in (0, 7)]
    sounds(root, *(f"audio/{name}" for name in names))
    rows = [f"{name},{name[0]},{name[-5]},{'dog' if name[-5] == '0' else 'rain'},True,1,A" for name in names]
    (root / "meta").mkdir()
    (root / "meta/esc50.csv").write_text("\n".join(["filename,fold,target,category,esc10,src_file,take", *rows]) + "\n")
    return root


def urban(root: Path) -> Path:
    rows = []
    for fold in range(1, 11):
        for kind in ("siren", "drilling"):
            name = f"{fold}{kind}-1-0-0.wav"
            sounds(root, f"audio/fold{fold}/{name}")
            rows.append(f"{name},1,0,4,1,{fold},0,{kind}")
    (root / "metadata").mkdir()
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    (root / "metadata/UrbanSound8K.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def commands(root: Path) -> Path:
    names = [f"{word}/{speaker}_nohash_0.wav" for word in ("yes", "no") for speaker in ("aa", "bb", "cc", "dd")]
    sounds(root, *names, "_background_noise_/pink.wav")
    (root / "validation_list.txt").write_text("yes/bb_nohash_0.wav\nno/bb_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("yes/cc_nohash_0.wav\nno/cc_nohash_0.wav\n")
    return root


IDS = ["--aE2O5G5WE", "0_abcdefghi", "zzzzzzzzzzz", "missing0000"]


def audioset(root: Path) -> Path:
    sounds(root, f"train/{IDS[0]}_0.000.wav", f"train/deep/Y{IDS[1]}.flac", f"eval/{IDS[2]}_30.wav", "readme.wav")
    lines = ["# Segments csv created", "# num_ytids=3", "# YTID, start_seconds, end_seconds, positive_labels"]
    lines += [f'{clip}, 0.000, 10.000, "/m/09x0r,/m/05zppz"' for clip in (IDS[0], IDS[1], IDS[3])]
    (root / "balanced_train_segments.csv").write_text("\n".join(lines) + "\n")
    return root


def test_esc50_holds_out_a_fold(tmp_path: Path) -> None:
    source = ESC50(str(esc50(tmp_path)), fold=5, frames=16)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [16, 12, 4, 4]
    assert {test.name(i).rsplit("/", 1)[1][0] for i in range(4)} == {"5"}
    assert {val.name(i).rsplit("/", 1)[1][0] for i in range(4)} == {"1"}
    assert test.factors["class"].names == ["dog", "rain"]
    assert test.factors["class"].index.tolist() == [0, 1, 0, 1]
    assert source.train().observe(0).shape == (1, 16, 80)
    assert all(not source.train().name(i).rsplit("/", 1)[1].startswith("5") for i in range(16))


def test_urbansound_has_ten_folds(tmp_path: Path) -> None:
    source = UrbanSound8K(str(urban(tmp_path)), fold=3, frames=16)
    assert [len(part) for part in source.probe()] == [16, 2, 2]
    assert "fold3" in source.probe().test.name(0)
    assert "fold4" in source.probe().val.name(0)
    assert not any("fold3" in source.train().name(i) for i in range(len(source.train())))


def test_folds_that_cannot_be(tmp_path: Path) -> None:
    root = esc50(tmp_path)
    with pytest.raises(UserError, match="fold must be 1 to 5: 6"):
        ESC50(str(root), fold=6)
    (root / "audio/1-0-A-0.wav").unlink()
    with pytest.raises(UserError, match=r"1 of 20 listed recordings are not in .*audio/1-0-A-0.wav"):
        ESC50(str(root))
    (root / "meta/esc50.csv").write_text("filename,folds,category\na,1,b\n")
    with pytest.raises(UserError, match=r"has no column 'fold' \(did you mean 'folds'\?\)"):
        ESC50(str(root))
    with pytest.raises(UserError, match=r"UrbanSound8K.csv does not exist"):
        UrbanSound8K(str(root))


def test_speech_commands(tmp_path: Path) -> None:
    source = SpeechCommands(str(commands(tmp_path)), frames=16)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [4, 4, 2, 2]
    assert all("cc_nohash" in test.name(i) for i in range(2))
    assert all("bb_nohash" in val.name(i) for i in range(2))
    assert test.factors["class"].names == ["no", "yes"]
    (tmp_path / "testing_list.txt").write_text("yes/xx_nohash_0.wav\n")
    with pytest.raises(UserError, match=r"1 of 1 recordings in testing_list.txt are not in"):
        SpeechCommands(str(tmp_path))


def test_audioset_takes_what_is_there_and_says_what_is_not(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"2 of 3 listed clips are in .*without the 1 that are missing"):
        source = AudioSet(str(audioset(tmp_path)), frames=32, seconds=None)
    assert source.missing == ["missing0000"]
    files = source.train()
    assert sorted(files.name(i).rsplit("/", 1)[1] for i in range(len(files))) == [
        f"{IDS[0]}_0.000.wav",
        f"Y{IDS[1]}.flac",
    ]
    assert files.observe(0).shape == (1, 32, 128)
    assert source.probe() is None


def test_audioset_with_nothing_to_learn_from(tmp_path: Path) -> None:
    audioset(tmp_path)
    with pytest.raises(UserError, match=r"eval.csv does not exist"):
        AudioSet(str(tmp_path), segments=["eval.csv"])
    (tmp_path / "other.csv").write_text(f'# x\n{IDS[3]}, 0, 10, "/m/1"\n')
    with pytest.raises(UserError, match=r"none of the 1 clips listed in other.csv is in"):
        AudioSet(str(tmp_path), segments=["other.csv"])
    (tmp_path / "balanced_train_segments.csv").unlink()
    with pytest.raises(UserError, match="has none of AudioSet's lists"):
        AudioSet(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("train/--aE2O5G5WE_0.000.wav", "--aE2O5G5WE"),
        ("Y--aE2O5G5WE.wav", "--aE2O5G5WE"),
        ("0_abcdefghi_30_40.flac", "0_abcdefghi"),
        ("abcdefghijk_30000.wav", "abcdefghijk"),
        ("readme.wav", None),
        ("a longer name than that.wav", None),
    ],
)
def test_ids_of_clips(name: str, clip: str | None) -> None:
    assert clip_id(name) == clip
