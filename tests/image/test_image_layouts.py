"""The published sets of pictures, in tiny copies: labels, splits, order, and what is said where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from layouts.images import ade20k, clevr, davis, inat18, labels, nyu_depth, picture, places205
from PIL import Image
from scipy import io

from modalities.image.ade20k import ADE20K
from modalities.image.clevr import CLEVR
from modalities.image.davis import DAVIS
from modalities.image.inaturalist import INaturalist
from modalities.image.nyu import NYUDepth
from modalities.image.places import Places205
from worldjepa.data.labels import IGNORED
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.dense import DenseSplit, segment
from worldjepa.evaluate.propagation import follow


def test_clevr_counts_things_and_bins_the_nearest(tmp_path: Path) -> None:
    depths = [[12.0, 7.9, 99.0], [8.1] + [9.0] * 9, [9.0, 8.75, 20.0, 20.0], [9.6, 9.7, 9.8], [10.5] * 5, [9.25] * 3]
    source = CLEVR(str(clevr(tmp_path, {"train": depths, "val": depths[::-1]})), size=8)
    train = source.train()
    assert list(train.factors) == ["count", "distance"]
    assert [train.factors["count"].names[i] for i in train.factors["count"].index] == ["3", "10", "4", "3", "5", "3"]
    assert train.factors["distance"].index.tolist() == [0, 1, 2, 4, 5, 3]
    assert train.factors["distance"].names == ["0 to 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "10 to 100"]
    test = source.probe().test
    assert test.factors["count"].index.tolist() == train.factors["count"].index.tolist()[::-1]
    assert test.name(0).endswith("images/val/CLEVR_val_000000.png")
    assert train.observe(0).shape == (3, 8, 8)


def test_clevr_chooses_on_training_pictures_of_every_count(tmp_path: Path) -> None:
    source = CLEVR(str(clevr(tmp_path)), size=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [12, 9, 3, 6]
    assert sorted(val.factors["count"].index) == [0, 1, 2]
    assert not {train.name(i) for i in range(9)} & {val.name(i) for i in range(3)}


def test_clevr_says_what_is_wrong(tmp_path: Path) -> None:
    root = clevr(tmp_path)
    scenes = root / "CLEVR_v1.0/scenes/CLEVR_train_scenes.json"
    (root / "CLEVR_v1.0/images/train/CLEVR_train_000003.png").unlink()
    with pytest.warns(UserWarning, match="1 of 12 listed pictures are not there"):
        assert len(CLEVR(str(root)).train()) == 11
    scenes.rename(scenes.with_name("CLEVR_train_scene.json"))
    with pytest.raises(
        UserError, match=r"did you mean 'CLEVR_train_scene.json'.*expected CLEVR_v1.0 as it is unpacked"
    ):
        CLEVR(str(root))
    for content, message in (
        ("{", "is not valid JSON"),
        ('{"scene": []}', r"has no 'scenes' \(did you mean 'scene'"),
        ('{"scenes": [{"image_filename": "a.png", "objects": []}]}', "scene 0 has 0 things: they are 3 to 10"),
    ):
        scenes.write_text(content)
        (root / "CLEVR_v1.0/images/train/a.png").touch()
        with pytest.raises(UserError, match=message):
            CLEVR(str(root))
    with pytest.raises(UserError, match="a depth of nan is not within 0 to 100"):
        CLEVR(str(clevr(tmp_path / "x", {"train": [[float("nan")] * 3]})))


def test_places_has_two_lists(tmp_path: Path) -> None:
    source = Places205(str(places205(tmp_path)), size=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [12, 10, 2, 4]
    assert test.factors["class"].names == ["0", "11"]
    assert test.factors["class"].index.tolist() == [1, 0, 1, 0]
    assert [test.name(i).partition("images256/")[2] for i in (0, 1)] == ["y/yard/val 0.jpg", "a/abbey/val_1.jpg"]
    assert test.observe(0).shape == (3, 8, 8)
    lists = tmp_path / "trainvalsplit_places205"
    (lists / "val_places205.csv").write_text("y/yard/val 0.jpg eleven\n")
    with pytest.raises(UserError, match=r"val_places205.csv, entry 1 is not `PATH LABEL`"):
        source.probe()
    (lists / "val_places205.csv").write_text("y/yard/val 0.jpg 12\n")
    with pytest.raises(UserError, match="'12' is not a class of the training files"):
        source.probe()
    (lists / "train_places205.csv").write_text("z/zoo/1.jpg 3\n")
    with pytest.raises(UserError, match=r"none of 1 listed pictures is there, beginning with .*images256/z/zoo/1.jpg"):
        Places205(str(tmp_path))
    with pytest.raises(UserError, match=r"train_places205.csv does not exist.*`PATH LABEL` a line"):
        Places205(str(lists / "../data"))


def test_inaturalist_joins_pictures_and_annotations(tmp_path: Path) -> None:
    source = INaturalist(str(inat18(tmp_path)), size=8)
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [12, 9, 3, 4]
    assert source.train().factors["class"].names == ["7", "12", "300"]
    assert source.train().factors["class"].index.tolist() == [0, 1, 2] * 4  # the annotations are in another order
    assert test.factors["class"].index.tolist() == [0, 1, 2, 0]
    assert test.name(2).endswith("train_val2018/Plantae/2/val2.jpg")
    content = json.loads((tmp_path / "val2018.json").read_text())
    content["annotations"].append({"image_id": 201, "category_id": 7})
    (tmp_path / "val2018.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="picture 201 has several annotations"):
        source.probe()
    content["annotations"] = content["annotations"][:2]
    (tmp_path / "val2018.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="picture 200 has no annotation"):
        source.probe()
    (tmp_path / "val2018.json").unlink()
    with pytest.raises(UserError, match=r"val2018.json does not exist.*with the pictures below train_val2018/"):
        source.probe()


def test_ade20k_gives_the_classes_of_the_pixels_seen(tmp_path: Path) -> None:
    source = ADE20K(str(ade20k(tmp_path)), size=8)
    assert source.probe() is None
    train, val, test = source.pixels()
    assert [len(part) for part in (source.train(), train, val, test)] == [10, 8, 2, 3]
    for i in range(3):
        numbers = np.random.default_rng(i).integers(0, 151, (12, 16))
        seen = test.labels(i)
        assert seen.shape == test.observe(i).shape[1:]
        inside = {IGNORED if number == 0 else number - 1 for number in numbers.flatten().tolist()}
        assert set(seen.flatten().tolist()) <= inside


def test_maps_are_aligned_with_the_evaluation_view(tmp_path: Path) -> None:
    """A picture whose red is its map: what is seen of both agrees wherever the class does not change."""
    home = tmp_path / "ADEChallengeData2016"
    for split, name in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        numbers = np.repeat(np.repeat(np.random.default_rng(3).integers(0, 5, (5, 9)), 16, 0), 16, 1)
        pixels = np.stack([numbers * 50] * 3, -1).astype(np.uint8)
        (home / f"images/{split}").mkdir(parents=True)
        Image.fromarray(pixels).save(home / f"images/{split}/{name}.png")
        labels(home / f"annotations/{split}/{name}.png", numbers)
    view = ADE20K(str(tmp_path), size=56).train()
    picture_seen, map_seen = view.observe(0)[0].float() / 50, view.labels(0)
    as_numbers = torch.where(map_seen == IGNORED, 0, map_seen + 1)
    assert (picture_seen - as_numbers).abs().lt(0.02).float().mean() > 0.6
    assert (picture_seen.round() == as_numbers).float().mean() > 0.85


def test_ade20k_feeds_segmentation(tmp_path: Path) -> None:
    parts = ADE20K(str(ade20k(tmp_path)), size=8).pixels()
    splits = [
        DenseSplit(torch.randn(len(part), 4, 3), torch.stack([part.labels(i) for i in range(len(part))]))
        for part in parts
    ]
    found = segment(*splits, lattice=(2, 2), classes=150)
    assert found.union.shape == (3, 150)


def test_ade20k_says_what_is_wrong(tmp_path: Path) -> None:
    source = ADE20K(str(ade20k(tmp_path)), size=8)
    maps = tmp_path / "ADEChallengeData2016/annotations/validation"
    labels(maps / "ADE_val_00000001.png", np.full((12, 16), 151))
    labels(maps / "ADE_val_00000002.png", np.zeros((12, 15)))
    picture(maps / "ADE_val_00000003.png", size=(16, 12))
    test = source.pixels().test
    for i, message in enumerate(
        ("has the number 151", r"a map of \(15, 12\) pixels for a picture of \(16, 12\)", "RGB")
    ):
        with pytest.raises(Unreadable, match=f"ADE_val_0000000{i + 1}.png: .*{message}"):
            test.labels(i)
    (maps / "ADE_val_00000002.png").unlink()
    with pytest.warns(UserWarning, match="1 of 3 listed maps are not there"):
        assert len(source.pixels().test) == 2
    with pytest.raises(UserError, match=r"images/training does not exist.*expected images/\{training,validation\}"):
        ADE20K(str(maps))


def test_nyu_depth_says_how_far_the_pixels_seen_are(tmp_path: Path) -> None:
    source = NYUDepth(str(nyu_depth(tmp_path)), size=112)
    assert source.probe() is None
    train, val, test = source.depths()
    assert [len(part) for part in (source.train(), train, val, test)] == [5, 4, 1, 3]
    assert test.name(0).endswith("nyu_depth_v2_labeled.mat: picture 6")
    assert len({part.fingerprint() for part in (train, val, test)}) == 3
    for index in range(3):
        red, seen = test.observe(index)[0].float() / 25, test.depth(index)
        assert seen.shape == red.shape == (112, 112)
        known = seen > 0
        assert 0.95 < known.float().mean() < 1  # without echo, or within the frame that does not count
        assert (red - seen)[known].abs().lt(0.1).float().mean() > 0.85
    rng = torch.Generator().manual_seed(0)
    assert not torch.equal(source.train().observe(0, rng), source.train().observe(0))
    whole = NYUDepth(str(tmp_path), size=420).depths().test.depth(0)  # 480 pixels high: nothing is resized
    assert whole[:15].max() == 0 < whole[15:].max()  # the first row that counts is 45, and 30 are cut off


def test_nyu_depth_says_what_is_wrong(tmp_path: Path) -> None:
    root = nyu_depth(tmp_path, 5)
    io.savemat(root / "splits.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[3], [6]]})
    with pytest.raises(UserError, match=r"splits.mat: testNdxs must be numbers of pictures, 1 to 5"):
        NYUDepth(str(root))
    io.savemat(root / "splits.mat", {"trainNdx": [[1]]})
    with pytest.raises(UserError, match=r"splits.mat: no list trainNdxs can be read"):
        NYUDepth(str(root))
    io.savemat(root / "splits.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[3]]})
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        file["depths"][2] = np.nan
    with pytest.raises(Unreadable, match="picture 3: no pixel of the view has a depth of up to 10 m"):
        NYUDepth(str(root)).depths().test.depth(0)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["depths"]
        file["depths"] = np.zeros((5, 480, 640))
    with pytest.raises(UserError, match=r"depths \[N, 640, 480\], not \[5, 3, 640, 480\] and \[5, 480, 640\]"):
        NYUDepth(str(root))
    (root / "nyu_depth_v2_labeled.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(UserError, match=r"is not the published file .MATLAB 7.3."):
        NYUDepth(str(root))
    (root / "nyu_depth_v2_labeled.mat").unlink()
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled.mat does not exist.*expected .* and splits.mat"):
        NYUDepth(str(root))


def test_davis_gives_what_following_takes(tmp_path: Path) -> None:
    source = DAVIS(str(davis(tmp_path)), size=8)
    assert [source.train().name(i).rsplit("/", 2)[1:] for i in (0, 4)] == [["bear", "00000.jpg"], ["boat", "00000.jpg"]]
    assert len(source.train()) == 8
    assert source.probe() is None
    (video,) = source.sequences((16, 32))
    assert (video.name, video.objects) == ("dogs", 2)
    assert video.frames.shape == (4, 3, 16, 32)
    assert video.labels.shape == (4, 12, 20)
    assert video.labels.unique().tolist() == [0, 1, 2]  # pixels that belong to nothing are background
    assert [(video.labels[i] == 1).nonzero()[:, 1].min().item() for i in range(4)] == [0, 1, 2, 3]
    assert follow(video.labels, video.labels, video.objects).scores["jf"] == 100


def test_davis_says_what_is_wrong(tmp_path: Path) -> None:
    source = DAVIS(str(davis(tmp_path)))
    maps = tmp_path / "DAVIS/Annotations/480p/dogs"
    picture(maps / "00001.png", size=(20, 12))
    with pytest.raises(Unreadable, match=r"dogs/00001.png: a map of objects has a palette, not pixels of kind RGB"):
        list(source.sequences((8, 8)))
    (maps / "00002.png").unlink()
    with pytest.raises(UserError, match=r"dogs/00002.png does not exist; expected DAVIS 2017 as it is unpacked"):
        list(source.sequences((8, 8)))
    (tmp_path / "DAVIS/ImageSets/2017/val.txt").write_text("cats\n")
    with pytest.raises(UserError, match="none of 1 listed videos is there"):
        source.names("val")
    with pytest.raises(UserError, match=r"train.txt does not exist.*ImageSets/2017"):
        DAVIS(str(maps))
