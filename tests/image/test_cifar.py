"""CIFAR in both versions, and pickles that ask for more than images."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts.images import RECORD, as_published, cifar10, cifar100, images
from PIL import Image

from modalities.image.batches import read_pickle
from modalities.image.cifar import CIFAR10, CIFAR100, Cifar, grey
from worldjepa.errors import UserError


def everything(source: Cifar) -> list[torch.Tensor]:
    return [split.observe(i) for split in (source.train(), *source.probe()) for i in range(len(split))]


def test_both_versions_are_the_same_images_and_labels(tmp_path: Path) -> None:
    binary = CIFAR100(str(cifar100(tmp_path / "a")))
    python = CIFAR100(str(cifar100(tmp_path / "b", python=True)))
    assert binary.version.folder == "cifar-100-binary"
    assert python.version.folder == "cifar-100-python"
    for ours, theirs in zip(everything(binary), everything(python), strict=True):
        assert torch.equal(ours, theirs)
    for one, other in zip(binary.probe(), python.probe(), strict=True):
        assert {name: labels.names for name, labels in one.factors.items()} == {
            "class": ["apple", "bear", "cup", "dog"],
            "superclass": ["fruit", "animal"],
        }
        for factor, labels in one.factors.items():
            assert labels.index.tolist() == other.factors[factor].index.tolist()
        assert (one.factors["superclass"].index == one.factors["class"].index // 2).all()
    assert binary.probe().test.fingerprint() == python.probe().test.fingerprint()


def test_the_test_images_are_the_test_split_in_their_order(tmp_path: Path) -> None:
    source = CIFAR100(str(cifar100(tmp_path)))
    train, val, test = source.probe()
    assert [len(part) for part in (source.train(), train, val, test)] == [20, 16, 4, 8]
    assert sorted(val.factors["class"].index) == [0, 1, 2, 3]
    assert test.factors["class"].index.tolist() == [0, 1, 2, 3] * 2
    for i, pixels in enumerate(images(8, 1)):
        assert torch.equal(test.observe(i), torch.from_numpy(pixels.reshape(3, 32, 32)))  # red, green, blue, row by row
    seen = {part.observe(i).numpy().tobytes() for part in (train, val) for i in range(len(part))}
    assert seen == {pixels.tobytes() for pixels in images(20, 0)}


def test_cifar10_has_five_files_to_learn_from(tmp_path: Path) -> None:
    folder = cifar10(tmp_path) / "cifar-10-batches-bin"
    source = CIFAR10(str(folder))  # the folder itself, too
    assert [len(part) for part in (source.train(), *source.probe())] == [15, 12, 3, 3]
    assert source.train().factors["class"].index.tolist() == [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0]
    assert source.probe().test.factors["class"].names == ["airplane", "automobile"]
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_4.bin does not exist.*did you mean 'data_batch"):
        CIFAR10(str(tmp_path))


def test_views_are_whole_for_evaluation_and_crops_for_training(tmp_path: Path) -> None:
    cifar10(tmp_path)
    source = CIFAR10(str(tmp_path), size=48, channels=1)
    test = source.probe().test
    assert test.shape == source.train().shape == (1, 48, 48)
    picture = Image.fromarray(images(3, 5)[0].reshape(3, 32, 32).transpose(1, 2, 0))
    by_pil = np.array(picture.convert("L").resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    assert abs(test.observe(0)[0].numpy().astype(int) - by_pil).max() <= 1
    rng = torch.Generator()
    first = source.train().observe(0, rng.manual_seed(0))
    assert torch.equal(first, source.train().observe(0, rng.manual_seed(0)))
    assert not torch.equal(first, source.train().observe(0, rng.manual_seed(1)))


def test_grey_is_pils() -> None:
    pixels = images(2, 3).reshape(2, 3, 32, 32)
    theirs = [np.array(Image.fromarray(one.transpose(1, 2, 0)).convert("L")) for one in pixels]
    assert (grey(pixels)[:, 0] == np.stack(theirs)).all()


class Harm:
    """Runs whatever it names as soon as it is unpickled."""

    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def test_a_hostile_pickle_does_nothing(tmp_path: Path) -> None:
    cifar100(tmp_path, python=True)
    victim = tmp_path / "victim"
    victim.write_text("still here")
    batch = tmp_path / "cifar-100-python/train"
    for harm in (Harm(Path.unlink, victim), Harm(eval, f"open({str(victim)!r}, 'w')"), Harm(getattr, b"", "hex")):
        for protocol in (0, 2, 5):
            batch.write_bytes(pickle.dumps({b"data": harm}, protocol))
            with pytest.raises(UserError, match=r"cifar-100-python/train is no file of CIFAR's: it asks for "):
                CIFAR100(str(tmp_path))
    assert victim.read_text() == "still here"


def test_arrays_of_anything_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    for array in (np.zeros((2, RECORD)), np.array([{}, []], object)):
        path.write_bytes(as_published({b"data": array}))
        with pytest.raises(UserError, match="of something else than bytes"):
            read_pickle(str(path))
    whole = as_published({b"data": images(2, 0), b"labels": [0, 1]})
    assert (read_pickle(str(_written(path, whole)))["data"] == images(2, 0)).all()
    assert (read_pickle(str(_written(path, pickle.dumps({"data": images(2, 0)}, 4))))["data"] == images(2, 0)).all()
    for data in (
        b"",
        whole[:-300],
        whole[:40],
        b"\x80\x02I1\n.",
        b"(",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02cnumpy\ndtype\n}b.",
        b"hello",
    ):
        with pytest.raises(UserError, match=r"batch (is no file of CIFAR's|cannot be read)"):
            read_pickle(str(_written(path, data)))
    rng = np.random.default_rng(0)
    for _ in range(300):  # whatever is done to it, it is read or refused
        harmed = bytearray(whole[:60] + whole[-200:])
        harmed[rng.integers(len(harmed))] = rng.integers(256)
        with contextlib.suppress(UserError):
            assert isinstance(read_pickle(str(_written(path, bytes(harmed)))), dict)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binari").mkdir()
    with pytest.raises(UserError, match=r"did you mean 'cifar-100-binari'.*expected the folder cifar-100-binary/ with"):
        CIFAR100(str(tmp_path))
    cifar100(tmp_path)
    folder = tmp_path / "cifar-100-binary"
    (folder / "test.bin").write_bytes((folder / "test.bin").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"test.bin is cut off .* not a multiple of 3074"):
        CIFAR100(str(tmp_path)).probe()
    (folder / "fine_label_names.txt").write_text("apple\n")
    with pytest.raises(UserError, match="a class is 3, but there are 1 names"):
        CIFAR100(str(tmp_path))
