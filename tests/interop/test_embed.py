"""`worldjepa embed`: the right vectors under the right names, resumable, and nothing overwritten."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import worldjepa
from interop.toys import HEADS, PIXELS, SIDE, WIDTH, save_official
from modalities.image.data import Folder
from worldjepa.cli import main

COUNT = 11


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(tmp_path_factory.mktemp("official") / "IN1K-toy.pth.tar")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        (root / f"class{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(root / f"class{i % 2}" / f"{i:02d}.png")
    return root


def words(file: Path, photos: Path, out: Path, *more: str) -> list[str]:
    own = [f"checkpoint={file}", f"heads={HEADS}", f"data.root={photos}", f"out={out}"]
    return ["embed", *own, "run.accelerator=cpu", "run.batch_size=3", "chunk=4", *more]


def wanted(file: Path, photos: Path) -> tuple[np.ndarray, list[str]]:
    """The patch embeddings and names, worked out one by one."""
    data = Folder(str(photos), size=PIXELS, holdout=0).train()
    model = worldjepa.load(file, heads=HEADS)
    with torch.no_grad():
        x = torch.cat([model.encode(data.observe(i)[None]).x for i in range(len(data))])
    return x.numpy(), [data.name(i) for i in range(len(data))]


@pytest.mark.parametrize("layout", ["npy", "parquet"])
@pytest.mark.parametrize("pool", ["mean", "patches"])
def test_every_image_under_its_name(pool: str, layout: str, file: Path, photos: Path, tmp_path: Path) -> None:
    assert main(words(file, photos, tmp_path / "out", f"pool={pool}", f"format={layout}")) == 0
    x, names = wanted(file, photos)
    assert len(names) == COUNT
    if pool == "mean":
        x = x.mean(1)
    if layout == "npy":
        found, found_names = (
            np.load(tmp_path / "out" / "embeddings.npy"),
            json.loads((tmp_path / "out" / "names.json").read_text()),
        )
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(tmp_path / "out" / "embeddings.parquet")
        found = np.array(table["embedding"].to_pylist(), np.float32)
        found_names = table["name"].to_pylist()
    assert found_names == names
    assert found.dtype == np.float32
    assert found.shape == ((COUNT, WIDTH) if pool == "mean" else (COUNT, SIDE * SIDE, WIDTH))
    np.testing.assert_allclose(found, x, atol=1e-5)
    record = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert record["complete"]
    assert record["shape"] == list(found.shape)
    assert not (tmp_path / "out" / "parts").exists()


def test_what_cannot_be_read_is_listed(file: Path, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for i, source in enumerate(sorted(photos.rglob("*.png"))):
        (root / f"{i}.png").write_bytes(b"broken" if i in (2, 4, 5, 6, 7) else source.read_bytes())
    assert main(words(file, root, tmp_path / "out")) == 0
    record = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert len(record["unreadable"]) == 5
    names = json.loads((tmp_path / "out" / "names.json").read_text())
    assert len(names) == len(np.load(tmp_path / "out" / "embeddings.npy")) == COUNT - 5
    assert not set(names) & set(record["unreadable"])


SLOW = """
import sys, time
from modalities.image.observations import ImageFiles
from worldjepa.cli import main

observe = ImageFiles.observe

def slowly(self, index, rng=None):
    time.sleep(0.25)
    return observe(self, index, rng)

ImageFiles.observe = slowly
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_process_goes_on(file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *words(file, photos, out)], stdout=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 60
        while not list(out.glob("parts/[0-9]*.json")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = {one.name: one.stat().st_mtime_ns for one in out.glob("parts/[0-9]*.json")}
    assert 0 < len(done) < 3
    assert not (out / "embeddings.npy").exists()

    looked_at = []
    from modalities.image.observations import ImageFiles

    observe = ImageFiles.observe
    monkeypatch.setattr(ImageFiles, "observe", lambda self, i, rng=None: looked_at.append(i) or observe(self, i, rng))
    assert main(words(file, photos, out)) == 0
    assert sorted(looked_at) == list(range(4 * len(done), COUNT))
    monkeypatch.undo()
    assert main(words(file, photos, tmp_path / "whole")) == 0
    for name in ("embeddings.npy", "names.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_folder_is_left_alone_and_others_are_refused(
    file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(words(file, photos, out)) == 0
    before = (out / "embeddings.npy").stat().st_mtime_ns
    capsys.readouterr()
    assert main(words(file, photos, out)) == 0
    assert "is complete already" in capsys.readouterr().out.replace("\n", " ")
    assert main(words(file, photos, out, "pool=patches")) == 2
    assert "holds other embeddings: pool (mean there, patches now)" in capsys.readouterr().err
    assert main(words(file, photos, out, "which=encoder")) == 2
    assert "holds other embeddings: weights (" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert main(words(file, photos, tmp_path / "full")) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (out / "embeddings.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["pool=max"], "pool 'max'"),
        (["format=csv"], "format 'csv'"),
        (["chunk=0"], "chunk=0: must be a whole number"),
        (["data.size=30"], "cannot be cut into patches of 4"),
        (["poool=mean"], "did you mean 'pool'"),
        (["data.rot=x"], "did you mean 'data.root'"),
    ],
)
def test_wrong_words(
    more: list[str], told: str, file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(file, photos, tmp_path / "out", *more)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "checkpoint=x"]) == 2
    assert "embed needs out=..." in capsys.readouterr().err
    assert main(["embed", "checkpoint=x", f"out={tmp_path / 'o'}"]) == 2
    assert "embed needs data" in capsys.readouterr().err


def test_parquet_without_pyarrow(
    file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("worldjepa.evaluate.export.importlib.util.find_spec", lambda name: None)
    assert main(words(file, photos, tmp_path / "out", "format=parquet")) == 2
    assert "pip install 'worldjepa[parquet]'" in capsys.readouterr().err


def test_a_run_embeds_too(finished: Path, tmp_path: Path) -> None:
    own = [f"checkpoint={finished}", "data=patterns", "data.count=20", f"out={tmp_path / 'out'}", "run.accelerator=cpu"]
    assert main(["embed", *own]) == 0
    assert np.load(tmp_path / "out" / "embeddings.npy").shape == (20, 24)
