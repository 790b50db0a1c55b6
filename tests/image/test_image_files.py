import os
import pickle

import numpy as np
import pytest

from modalities.image.observations import KIND
from worldjepa.data import paths as paths_module
from worldjepa.data.paths import Kind, PathTable
from worldjepa.errors import UserError


def scan(root, kind=KIND):
    return paths_module.scan(root, kind)


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_table_behaves_like_a_list_and_pickles_small():
    paths = [f"n{index % 1000:08d}/n{index % 1000:08d}_{index}.JPEG" for index in range(200_000)]
    table = PathTable(paths)
    assert len(table) == 200_000
    assert table[123_456] == paths[123_456]
    assert list(table)[-3:] == paths[-3:]
    stored = pickle.dumps(table)
    assert len(stored) < sum(map(len, paths)) + 4 * len(paths) + 1000
    again = pickle.loads(stored)  # noqa: S301 (made a line above)
    assert again[199_999] == paths[-1]
    assert again.fingerprint() == table.fingerprint()
    assert PathTable(reversed(paths)).fingerprint() != table.fingerprint()
    with pytest.raises(IndexError):
        table[200_000]


def test_fingerprint_sees_where_names_end():
    assert PathTable(["ab", "c"]).fingerprint() != PathTable(["a", "bc"]).fingerprint()


def test_selection_and_unusual_names():
    table = PathTable(["ä b.png", os.fsdecode(b"\xff.png"), ""])
    assert list(table.select(np.array([1, 0]))) == [os.fsdecode(b"\xff.png"), "ä b.png"]
    assert table[2] == ""
    assert len(PathTable([])) == 0


def test_scan_is_sorted_and_ignores_hidden_and_other_files(tmp_path):
    touch(tmp_path, "b/2.PNG", "b/10.jpg", "a/x/1.jpeg", "c.webp", ".hidden/1.png", "b/.3.png", "notes.txt")
    assert list(scan(tmp_path)) == ["a/x/1.jpeg", "b/10.jpg", "b/2.PNG", "c.webp"]
    assert list(scan(tmp_path, Kind("texts", (".TXT",)))) == ["notes.txt"]


def test_scan_follows_links_but_not_in_circles(tmp_path):
    touch(tmp_path, "real/1.png", "elsewhere/2.png")
    (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "real" / "other").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert list(scan(tmp_path / "real")) == ["1.png", "other/2.png", "up/elsewhere/2.png"]


def test_nothing_found_says_what_is_there(tmp_path):
    with pytest.raises(UserError, match="no files at all"):
        scan(tmp_path)
    touch(tmp_path, *(f"a/{index}.txt" for index in range(12)), "b.npy", "README")
    with pytest.raises(UserError) as caught:
        scan(tmp_path, Kind("pictures", (".jpg", ".png")))
    text = str(caught.value)
    for words in ("no pictures", str(tmp_path), ".jpg, .png", "12 with .txt", "1 with .npy", "1 with no ending"):
        assert words in text


def test_missing_root_names_the_nearest_entry(tmp_path):
    (tmp_path / "imagenet").mkdir()
    with pytest.raises(UserError, match="did you mean 'imagenet'"):
        scan(tmp_path / "imagnet" / "train")
    touch(tmp_path, "file")
    with pytest.raises(UserError, match="is a file"):
        scan(tmp_path / "file")
