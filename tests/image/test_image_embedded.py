import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from modalities.image.data import Patterns, Shapes
from modalities.image.observations import ArrayObservations
from modalities.image.patterns import SPLITS, draw_patterns
from modalities.image.shapes import draw_shapes, grey
from worldjepa.data import cache
from worldjepa.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))


def digest(images):
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()


DRAW = {
    "patterns": draw_patterns,
    "shapes": draw_shapes,
    "several": lambda count, **settings: draw_shapes(count, objects=(1, 4), **settings),
}


@pytest.mark.parametrize("kind", DRAW)
def test_drawing_is_deterministic_and_splits_are_disjoint(kind):
    draw = DRAW[kind]
    first = draw(200)
    assert digest(first.pixels) == digest(draw(200).pixels)
    assert digest(first.pixels) != digest(draw(200, seed=1).pixels)
    seen = set()
    for split in SPLITS:
        images = draw(200, split=split).pixels
        hashes = {digest(image) for image in images}
        assert len(hashes) == 200
        assert not hashes & seen
        seen |= hashes


@pytest.mark.parametrize("kind", DRAW)
def test_classes_are_balanced(kind):
    for name, index in DRAW[kind](1001).labels.items():
        counts = np.bincount(index)
        headline = name in ("pattern", "shape", "count")
        assert counts.max() - counts.min() <= (1 if headline else 90), name
        assert len(counts) == {"count": 4, "texture": 5}.get(name, 8)


@pytest.mark.parametrize(
    ("kind", "size", "limit"), [("patterns", 64, 0.22), ("shapes", 32, 0.16), ("several", 32, 0.30)]
)
def test_linear_probes_on_pixels_stay_near_chance(kind, size, limit):
    train, test = DRAW[kind](2000, size=size, split="probe_train"), DRAW[kind](2000, size=size, split="probe_test")
    factor = next(iter(train.labels))
    # Pixels are averaged in pairs: as telling to a linear probe here, and quicker.
    x, y = (
        part.pixels.reshape(2000, -1, size // 2, 2, size // 2, 2).mean((3, 5)).reshape(2000, -1) / 255 - 0.5
        for part in (train, test)
    )
    probe = LogisticRegression(C=1e-3, max_iter=300).fit(x, train.labels[factor])
    assert probe.score(y, test.labels[factor]) <= limit


def test_mean_images_of_classes_do_not_differ():
    patterns = draw_patterns(4000, size=32)
    shapes = draw_shapes(4000)
    for images, factor in ((patterns, "pattern"), (shapes, "shape")):
        means = [images.pixels[images.labels[factor] == kind].mean() for kind in range(8)]
        assert np.ptp(means) < 12


def test_shape_factors_describe_the_image():
    images = draw_shapes(3000)
    contrast = np.abs(images.pixels.astype(float) - np.median(images.pixels, (2, 3), keepdims=True)).sum(1)
    where = contrast.sum(1).argmax(-1)  # the column with most contrast
    assert np.corrcoef(where, images.labels["x"])[0, 1] > 0.5
    assert np.corrcoef(contrast.sum((1, 2)), images.labels["scale"])[0, 1] > 0.3


def test_grey_shapes():
    assert (grey(np.full((2, 3, 4, 4), 7, np.uint8)) == 7).all()
    source = Shapes(size=16, count=20, channels=1)
    assert source.train().shape == (1, 16, 16)


def test_patterns_source():
    source = Patterns(size=16, count=30)
    train, probe = source.train(), source.probe()
    assert train.shape == (1, 16, 16)
    assert [len(part) for part in (train, *probe)] == [30, 4000, 1000, 2000]
    assert len({part.fingerprint() for part in (train, *probe)}) == 4
    assert probe.test.factors["pattern"].names[0] == "stripes"
    assert torch.equal(train.observe(3), train.observe(3, torch.Generator()))
    coloured = Patterns(size=16, count=30, channels=3).train()
    assert torch.equal(coloured.observe(3), train.observe(3).expand(3, -1, -1))


def test_shapes_sources():
    train = Shapes(size=16, count=30).train()
    assert list(train.factors) == ["shape", "hue", "texture", "x", "y", "scale"]
    several = Shapes(size=16, count=30, objects="1-4").train()
    assert several.factors["count"].names == ["1", "2", "3", "4"]
    assert several.fingerprint() != train.fingerprint()
    assert len(Shapes(size=16, count=30, objects="2-3").train().factors["count"].names) == 2


def test_crops_on_request():
    train = Patterns(size=32, count=10, augment="crop").train()
    rng = torch.Generator()
    first = train.observe(0, rng.manual_seed(0))
    assert first.shape == (1, 32, 32)
    assert torch.equal(first, train.observe(0, rng.manual_seed(0)))
    assert not torch.equal(first, train.observe(0, rng.manual_seed(1)))
    assert torch.equal(train.observe(0), Patterns(size=32, count=10).train().observe(0))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Patterns, {"size": 4}),
        (Patterns, {"count": 0}),
        (Patterns, {"noise": -1.0}),
        (Patterns, {"channels": 2}),
        (Patterns, {"augment": "flip"}),
        (Shapes, {"objects": 3}),
        (Shapes, {"objects": "1-9"}),
        (Shapes, {"objects": "4-1"}),
    ],
)
def test_settings_out_of_range(kind, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        kind(**wrong)


def test_arrays_are_checked_and_fingerprinted():
    images = np.zeros((4, 1, 8, 8), np.uint8)
    assert ArrayObservations(images).fingerprint() != ArrayObservations(images + 1).fingerprint()
    for wrong in (images.astype(float), images[0], np.zeros((4, 2, 8, 8), np.uint8)):
        with pytest.raises(UserError, match="uint8"):
            ArrayObservations(wrong)
    with pytest.raises(UserError, match="square"):
        ArrayObservations(np.zeros((4, 1, 8, 9), np.uint8), crop_scale=(0.3, 1.0))


def test_mapped_arrays_are_pickled_by_name_and_parts_by_value():
    train = Patterns(size=32, count=500).train()
    stored = pickle.dumps(train)
    assert len(stored) < 30_000
    again = pickle.loads(stored)  # noqa: S301 (made here)
    assert torch.equal(again.observe(7), train.observe(7))
    part = pickle.loads(pickle.dumps(ArrayObservations(train.images[100:110])))  # noqa: S301 (made here)
    assert torch.equal(part.observe(0), train.observe(100))


def entry():
    (found,) = [path for path in (cache.home() / "datasets").iterdir() if not path.name.startswith(".")]
    return found


def test_the_second_time_comes_from_the_cache(monkeypatch):
    first = Patterns(size=16, count=10).train()
    monkeypatch.setattr("modalities.image.embedded.draw_patterns", None)
    second = Patterns(size=16, count=10).train()
    assert isinstance(second.images, np.memmap)
    assert torch.equal(first.observe(1), second.observe(1))
    assert os.listdir(cache.home() / "datasets") == [entry().name]


@pytest.mark.parametrize("damage", ["truncated", "altered", "no meta", "broken meta", "other meta", "missing"])
def test_damaged_caches_are_made_again(damage):
    expected = digest(Patterns(size=16, count=10).train().images)
    images, meta = entry() / "images.npy", entry() / "meta.json"
    content = images.read_bytes()
    if damage == "truncated":
        images.write_bytes(content[:-10])
    elif damage == "altered":
        images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        images.unlink()
    elif damage == "no meta":
        meta.unlink()
    else:
        meta.write_text("{" if damage == "broken meta" else json.dumps({"files": 3}))
    assert digest(Patterns(size=16, count=10).train().images) == expected
    assert images.read_bytes() == content
    assert os.listdir(cache.home() / "datasets") == [entry().name]


def test_an_unwritable_cache_is_done_without(tmp_path):
    (tmp_path / "file").touch()
    source = Patterns(size=16, count=10, cache=str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="kept in memory"):
        train = source.train()
    assert train.observe(0).shape == (1, 16, 16)


def test_own_cache_folder_and_default(tmp_path, monkeypatch):
    Patterns(size=16, count=10, cache=str(tmp_path / "mine")).train()
    assert len(os.listdir(tmp_path / "mine")) == 1
    monkeypatch.delenv("WORLDJEPA_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.home() == tmp_path / "xdg" / "worldjepa"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.home() == Path.home() / ".cache" / "worldjepa"


CONCURRENT = """
import sys, time
import numpy as np
from worldjepa.data.cache import cached
while time.time() < float(sys.argv[2]):
    pass
for turn in range(20):
    arrays = cached("x", {"turn": turn}, lambda: {"a": np.full(5000, turn)}, sys.argv[1])
    assert (arrays["a"] == turn).all()
"""


def test_several_processes_at_once(tmp_path):
    for turn in range(0, 20, 2):  # half of the entries are there already, damaged
        cache.cached("x", {"turn": turn}, lambda: {"a": np.zeros(3)}, tmp_path)
    for path in tmp_path.iterdir():
        (path / "a.npy").write_bytes(b"damaged")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = str(time.time() + 1)
    command = [sys.executable, "-W", "error", "-c", CONCURRENT, str(tmp_path), start]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert len(os.listdir(tmp_path)) == 20


def test_images_import_no_other_modality_and_the_core_alone():
    for path in (ROOT / "modalities" / "image").glob("*.py"):
        imported = re.findall(r"^(?:from|import) ((?:modalities|worldjepa)[\w.]*)", path.read_text(), re.MULTILINE)
        allowed = (
            *("modalities.image", "worldjepa.data", "worldjepa.errors", "worldjepa.interfaces", "worldjepa.types"),
            "worldjepa.visual.depiction",
        )
        assert all(name.startswith(allowed) for name in imported), path
