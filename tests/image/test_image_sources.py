import csv
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from modalities.image.data import Folder, ImageNet, Manifest
from worldjepa.data.paths import PathTable
from worldjepa.data.splits import stratified
from worldjepa.errors import UserError


def image(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        tint = sum(map(ord, path)) % 256
        Image.new("RGB", (9, 7), (tint, 0, 255)).save(root / path, "JPEG")


def classes(root, names="ab", count=10):
    image(root, *(f"{name}/{name}_{index}.jpg" for name in names for index in range(count)))


def names(files):
    return set(files.paths)


def small(kind, root, **settings):
    return kind(str(root), size=8, **settings)


def test_flat_and_nested_folders_have_no_labels(tmp_path):
    image(tmp_path, "1.jpg", "a/2.jpg", "b/c/3.jpg")
    source = small(Folder, tmp_path)
    assert list(source.train().paths) == ["1.jpg", "a/2.jpg", "b/c/3.jpg"]
    assert source.train().factors == {}
    assert source.probe() is None


def test_one_folder_or_a_folder_without_images_is_no_class(tmp_path):
    classes(tmp_path, "a", 2)
    assert small(Folder, tmp_path).probe() is None
    classes(tmp_path, "b", 2)
    assert small(Folder, tmp_path).probe() is not None
    (tmp_path / "empty").mkdir()
    assert small(Folder, tmp_path).probe() is None


def test_classes_are_held_out_evenly_and_splits_are_disjoint(tmp_path):
    classes(tmp_path, "abc", 20)
    source = small(Folder, tmp_path, holdout=0.25)
    train, probe = source.train(), source.probe()
    parts = [names(part) for part in probe]
    assert len(train) == 45
    assert [len(part) for part in probe] == [36, 9, 15]
    assert parts[0] | parts[1] == names(train)
    assert not parts[0] & parts[1]
    assert not parts[2] & names(train)
    assert np.bincount(probe.test.factors["class"].index).tolist() == [5, 5, 5]
    assert probe.test.factors["class"].names == ["a", "b", "c"]
    for part in probe:
        for index, path in enumerate(part.paths):
            assert part.factors["class"].names[part.factors["class"].index[index]] == path[0]
    assert names(small(Folder, tmp_path, holdout=0.25).probe().test) == parts[2]
    assert names(small(Folder, tmp_path, holdout=0.25, seed=1).probe().test) != parts[2]


def test_holdout_does_not_depend_on_order():
    paths, labels = [f"{index}.png" for index in range(50)], np.arange(50) % 3
    order = np.random.default_rng(0).permutation(50)
    chosen = stratified(PathTable(paths), labels, 0.3, 0, "test")
    shuffled = stratified(PathTable(paths[index] for index in order), labels[order], 0.3, 0, "test")
    assert (chosen[order] == shuffled).all()
    alone = stratified(PathTable(["x", "y"]), np.array([0, -1]), 0.9, 0, "test")
    assert not alone.any()


def test_without_holdout_there_is_no_probe(tmp_path):
    classes(tmp_path)
    source = small(Folder, tmp_path, holdout=0)
    assert len(source.train()) == 20
    assert source.probe() is None
    for wrong in (1.0, -0.1):
        with pytest.raises(UserError, match="holdout"):
            small(Folder, tmp_path, holdout=wrong)


def test_splits_on_disk_are_used(tmp_path):
    classes(tmp_path / "train")
    classes(tmp_path / "val", "b", 3)
    probe = small(Folder, tmp_path).probe()
    assert [len(part) for part in probe] == [16, 4, 3]
    assert probe.test.factors["class"].index.tolist() == [1, 1, 1]
    classes(tmp_path / "test", "ab", 2)
    assert [len(part) for part in small(Folder, tmp_path).probe()] == [20, 3, 4]
    assert len(small(Folder, tmp_path).train()) == 20


def test_strange_classes_in_a_split_are_explained(tmp_path):
    classes(tmp_path / "train", ["cat", "dog"])
    classes(tmp_path / "val", ["cats"], 1)
    with pytest.raises(UserError, match="did you mean 'cat'"):
        small(Folder, tmp_path).probe()


def test_a_split_without_class_folders_is_explained(tmp_path):
    classes(tmp_path / "train", ["cat", "dog"])
    image(tmp_path / "test", "1.jpg")
    with pytest.raises(UserError, match="no class folder"):
        small(Folder, tmp_path).probe()


def test_observations_are_crops_or_the_evaluation_view(tmp_path):
    image(tmp_path, "1.jpg")
    Image.effect_noise((40, 30), 90).save(tmp_path / "1.jpg")
    for channels in (1, 3):
        files = small(Folder, tmp_path, channels=channels).train()
        rng = torch.Generator()
        assert files.shape == (channels, 8, 8)
        assert files.observe(0).shape == files.shape
        assert torch.equal(files.observe(0), files.observe(0))
        first = files.observe(0, rng.manual_seed(0))
        assert torch.equal(first, files.observe(0, rng.manual_seed(0)))
        assert not torch.equal(first, files.observe(0, rng.manual_seed(1)))


def test_observations_pickle_and_have_fingerprints(tmp_path):
    classes(tmp_path / "x")
    classes(tmp_path / "y")
    files = small(Folder, tmp_path / "x").train()
    again = pickle.loads(pickle.dumps(files))  # noqa: S301 (made here)
    assert torch.equal(again.observe(3), files.observe(3))
    assert again.fingerprint() == files.fingerprint() == small(Folder, tmp_path / "y").train().fingerprint()
    Image.new("RGB", (9, 7)).save(tmp_path / "y" / "a" / "a_0.jpg")
    image(tmp_path / "y", "b/new.jpg")
    assert small(Folder, tmp_path / "y").train().fingerprint() != files.fingerprint()


def test_same_names_with_other_content_have_another_fingerprint(tmp_path):
    image(tmp_path, "x/1.jpg")
    image(tmp_path, "y/1.jpg")
    x, y = (small(Folder, tmp_path / name).train() for name in "xy")
    assert x.fingerprint() != y.fingerprint()


def test_undecodable_files_are_named(tmp_path):
    image(tmp_path, "1.jpg")
    (tmp_path / "1.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1\.jpg"):
        small(Folder, tmp_path).train().observe(0)


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"crop_scale": (0.5, 0.3)}, {"crop_scale": (0.0, 1.0)}])
def test_settings_out_of_range(tmp_path, wrong):
    image(tmp_path, "1.jpg")
    with pytest.raises(UserError, match=next(iter(wrong))):
        small(Folder, tmp_path, **wrong)
    with pytest.raises(UserError, match="size"):
        Folder(str(tmp_path), size=0)


@pytest.fixture
def imagenet(tmp_path):
    for wnid in ("n01440764", "n01443537"):
        image(tmp_path / "train", *(f"{wnid}/{wnid}_{index}.JPEG" for index in range(10)))
        image(tmp_path / "val", *(f"{wnid}/ILSVRC2012_val_0000000{index}.JPEG" for index in range(2)))
    return tmp_path


def test_imagenet(imagenet):
    source = small(ImageNet, imagenet)
    probe = source.probe()
    assert len(source.train()) == 20
    assert [len(part) for part in probe] == [16, 4, 4]
    assert probe.test.factors["class"].names == ["n01440764", "n01443537"]


def test_imagenet_subset(imagenet):
    listed = ["n01440764_3.JPEG", "n01443537_0.JPEG", "n01443537_9.JPEG"]
    (imagenet / "1percent.txt").write_text("\n".join(listed) + "\n")
    subset = str(imagenet / "1percent.txt")
    source = small(ImageNet, imagenet, subset=subset)
    probe = source.probe()
    assert {path.split("/")[1] for path in probe.train.paths} == set(listed)
    assert not names(probe.train) & names(probe.val)
    assert len(source.train()) == 20
    assert len(small(ImageNet, imagenet, subset=subset, subset_train=True).train()) == 3
    with pytest.raises(UserError, match="needs subset"):
        small(ImageNet, imagenet, subset_train=True)
    (imagenet / "1percent.txt").write_text("\n".join([*listed, *(f"n0_{index}.JPEG" for index in range(5))]))
    with pytest.raises(UserError, match=r"5 of the 8 images .*n0/n0_0\.JPEG.*\.\.\."):
        small(ImageNet, imagenet, subset=subset)
    with pytest.raises(UserError, match="there is no file"):
        small(ImageNet, imagenet, subset="missing.txt")


def test_imagenet_flat_validation(imagenet):
    flat = imagenet / "flat"
    image(flat, *(f"val/ILSVRC2012_val_0000000{index}.JPEG" for index in range(1, 4)))
    (flat / "train").symlink_to(imagenet / "train", target_is_directory=True)
    with pytest.raises(UserError, match=r"class folders.*val_labels"):
        small(ImageNet, flat).probe()
    labels = flat / "labels.txt"
    labels.write_text("n01443537\nn01440764\nn01443537\n")
    test = small(ImageNet, flat, val_labels=str(labels)).probe().test
    assert test.factors["class"].index.tolist() == [1, 0, 1]
    labels.write_text("n01443537\n")
    with pytest.raises(UserError, match="1 lines for 3 files"):
        small(ImageNet, flat, val_labels=str(labels)).probe()
    labels.write_text("490\n361\n171\n")
    with pytest.raises(UserError, match="not a class"):
        small(ImageNet, flat, val_labels=str(labels)).probe()
    with pytest.raises(UserError, match="use one of the two"):
        small(ImageNet, imagenet, val_labels=str(labels)).probe()


def test_imagenet_layout_errors(tmp_path):
    image(tmp_path, "n01440764/1.JPEG", "n01443537/1.JPEG")
    with pytest.raises(UserError, match="no 'train'"):
        small(ImageNet, tmp_path)
    image(tmp_path, "train/1.JPEG")
    with pytest.raises(UserError, match="one folder of images for each class"):
        small(ImageNet, tmp_path)


def manifest(root, header, *rows):
    with open(root / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return root / "list.csv"


def test_manifest_with_splits(tmp_path):
    image(tmp_path, *(f"i/{index} x.jpg" for index in range(8)))
    splits = ["train"] * 5 + ["Validation", "test", "test"]
    rows = [(f"i/{index} x.jpg", "ab"[index % 2], split) for index, split in enumerate(splits)]
    path = manifest(tmp_path, ("path", "label", "split"), *rows)
    source = small(Manifest, path)
    assert len(source.train()) == 5
    assert [len(part) for part in source.probe()] == [5, 1, 2]
    assert source.train().observe(0).shape == (3, 8, 8)
    assert source.probe().test.factors["class"].index.tolist() == [0, 1]


def test_manifest_without_splits_holds_out(tmp_path):
    image(tmp_path / "elsewhere", *(f"{index}.jpg" for index in range(20)))
    path = manifest(tmp_path, ("file", "kind"), *((f"{index}.jpg", "ab"[index % 2]) for index in range(20)))
    source = Manifest(str(path), root=str(tmp_path / "elsewhere"), size=8, image="file", label="kind")
    probe = source.probe()
    assert [len(part) for part in probe] == [12, 4, 4]
    assert not names(probe.test) & names(source.train())
    assert Manifest(str(path), root=str(tmp_path / "elsewhere"), size=8, image="file").probe() is None


def test_manifest_with_some_labels(tmp_path):
    image(tmp_path, *(f"{index}.jpg" for index in range(30)))
    path = manifest(tmp_path, ("path", "label"), *((f"{index}.jpg", ["a", "b", ""][index % 3]) for index in range(30)))
    source = small(Manifest, path)
    assert len(source.train()) == 26
    assert source.train().factors == {}
    assert [len(part) for part in source.probe()] == [12, 4, 4]


def test_manifest_errors(tmp_path):
    image(tmp_path, "1.jpg")
    path = manifest(tmp_path, ("file_name", "labels", "split"), ("1.jpg", "a", "train"))
    with pytest.raises(UserError, match=r"column 'filename' \(did you mean 'file_name'\?\).*file_name, labels, split"):
        small(Manifest, path, image="filename")
    with pytest.raises(UserError, match="no column 'lables'"):
        small(Manifest, path, image="file_name", label="lables")
    manifest(tmp_path, ("path", "split"), ("1.jpg", "trian"))
    with pytest.raises(UserError, match=r"line 2: 'trian'.*did you mean 'train"):
        small(Manifest, path)
    manifest(tmp_path, ("path",), ("1.jpg",), *((f"gone{index}.jpg",) for index in range(4)))
    with pytest.raises(UserError, match=r"4 of the 5 images.*gone0\.jpg, gone1\.jpg, gone2\.jpg, \.\.\."):
        small(Manifest, path)
    manifest(tmp_path, ("path",), ("1.jpg",), ("1.jpg",))
    with pytest.raises(UserError, match="more than once"):
        small(Manifest, path)
    manifest(tmp_path, ("path", "split"), ("1.jpg", "test"))
    with pytest.raises(UserError, match="no images to train on"):
        small(Manifest, path)
    with pytest.raises(UserError, match=r"did you mean 'list\.csv'"):
        small(Manifest, tmp_path / "lists.csv")
