"""The photographs' crops: real pictures, no pixel in both halves, and a folder that trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import PHOTOS, crops, photograph, write
from worldjepa.cli import main


@pytest.mark.parametrize("name", PHOTOS)
def test_every_photograph_is_there_and_large_enough(name: str) -> None:
    pixels = photograph(name)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert min(pixels.shape[0], pixels.shape[1] * 0.38) >= 64
    assert pixels.std() > 10


def test_crops_stay_inside_their_columns() -> None:
    # A picture whose red channel is the number of the column: crops of their own size show where they come from.
    pixels = np.zeros((100, 250, 3), np.uint8)
    pixels[..., 0] = np.arange(250)
    for columns in (range(145), range(155, 250)):
        for crop in crops(pixels, columns, 50, 32, np.random.default_rng(0)):
            assert crop.shape == (32, 32, 3)
            assert columns.start <= crop[..., 0].min()
            assert crop[..., 0].max() < columns.stop


def test_a_folder_of_photographs_trains_and_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.photos.PHOTOS", PHOTOS[:4])
    write(tmp_path / "photos", side=64, train=20, test=8, seed=0)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    assert len(files) == 4 * 28
    with Image.open(files[0]) as image:
        assert image.size == (64, 64)
    words = [
        "run.steps=40",
        "run.batch_size=16",
        "run.log_every=1",
        "run.workers=0",
        "run.threads=1",
        "run.tensorboard=false",
    ]
    out = tmp_path / "run"
    code = main(
        ["train", f"data.root={tmp_path / 'photos'}", "data.size=64", "preset=quickstart", *words, f"run.out={out}"]
    )
    assert code == 0, capfd.readouterr().err
    report = json.loads((out / "report.json").read_text())
    before, after = report["baselines"]["untrained encoder"], report["trained"]
    assert after["eval/prediction_loss"] < 0.5 * before["eval/prediction_loss"]
    assert after["eval/prediction_ratio"] < 0.95 < before["eval/prediction_ratio"]
    assert report["baselines"]["chance"]["eval/linear_top1"] == 25
    assert after["eval/linear_top1"] > report["baselines"]["raw input"]["eval/linear_top1"] + 10
