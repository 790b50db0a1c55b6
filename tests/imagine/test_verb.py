"""`worldjepa imagine`, from end to end on toys: what it writes, what it takes again, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.toys import HEADS, WIDTH, predictor, save_official, wrapped
from PIL import Image
from train.toy import train

from modalities.image import embedded
from worldjepa.cli import imagined_measure, main
from worldjepa.errors import UserError
from worldjepa.imagine.saved import read

QUICK = [
    *("steps=2", "control=2", "batch=4", "examples=12", "samples=2", "denoise=2", "rows=2", "count=10", "width=8"),
    "run.accelerator=cpu",
]


@pytest.fixture(scope="module", autouse=True)
def little(home: Path) -> Iterator[None]:
    """Few labelled pictures, and a judge that learns next to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 24, "val": 8, "test": 16})
        patch.setattr(imagined_measure, "JUDGED", 24)
        patch.setattr(imagined_measure, "JUDGE_STEPS", 2)
        patch.setenv("WORLDJEPA_HOME", str(home.with_name("home of imagination")))
        yield


@pytest.fixture(scope="module")
def run(little: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a toy on patterns."""
    out = tmp_path_factory.mktemp("imagined") / "run"
    assert train(out) == 0
    return out


def imagine(run: Path, out: Path, *words: str) -> int:
    return main(["imagine", f"checkpoint={run}", f"out={out}", *QUICK, *words])


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "measure.json").read_text())
    return found


def test_a_block_is_imagined_drawn_and_measured(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert imagine(run, out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("decoder.json", "decoder.safetensors", "imagined.png", "measure.json")
    ]
    with Image.open(out / "imagined.png") as image:
        tiles, rows = 2 + 2 + 3, 2  # input, context, two samples, regression, truth, spread
        assert image.size == (tiles * 102 + 6, rows * 96 + 14 + 3 * 6)
    found = report(out)
    entry = found["factors"]["pattern"]
    assert entry["scenes"] == found["scenes"] == 10
    assert set(entry["share"]) == {"truth", "samples", "regression", "batch mean"}
    for share in entry["share"].values():
        assert 0 <= share["low"] <= share["mean"] <= share["high"] <= 1
    apart = entry["share"]["samples"]["mean"] - entry["share"]["regression"]["mean"]
    assert entry["more_than"]["regression"]["mean"] == pytest.approx(apart)
    assert found["variance"]["of_true_pictures"] > 0
    told = " ".join(capsys.readouterr().out.split())
    assert "pattern is read from samples" in told
    assert "used again" not in told


def test_a_decoder_is_used_again_where_nothing_changed_that_decides_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert imagine(run, out, "count=0") == 0
    assert not (out / "measure.json").exists()
    weights = out / "decoder.safetensors"
    first = weights.read_bytes()

    def again(*words: str) -> bool:
        capsys.readouterr()
        assert imagine(run, out, "count=0", *words) == 0
        return "used again" in capsys.readouterr().out

    assert again("guidance=2", "samples=1", "denoise=1", "rows=1")
    assert weights.read_bytes() == first
    assert not again("seed=1")
    assert weights.read_bytes() != first
    assert not again()
    assert weights.read_bytes() == first
    weights.write_bytes(first[:-1] + bytes([first[-1] ^ 1]))
    with pytest.raises(UserError, match="checksum"):
        read(out)
    assert not again()
    assert weights.read_bytes() == first
    (out / "decoder.json").write_text("{")
    assert not again()
    pair = read(out, guidance=0.5)
    assert pair.diffusion.guidance == 0.5
    assert all(torch.isfinite(value).all() for value in pair.control.state_dict().values())


def test_targets_can_be_decoded_and_ones_own_pictures_shown(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, size in enumerate([(40, 60, 3), (32, 32)]):
        pixels = rng.integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    out = tmp_path / "out"
    assert imagine(run, out, "train_on=target", f"inputs={tmp_path}", "count=0") == 0
    with Image.open(out / "imagined.png") as image:
        assert image.size[1] == 2 * 96 + 14 + 3 * 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["step=3"], "key 'step' is not one of imagine's (did you mean 'steps'?)"),
        (["train_on=predictions"], "train_on 'predictions' is not known (did you mean 'predicted'?)"),
        (["steps=0"], "steps=0: must be a whole number, 1 or more"),
        (["guidance=much"], "guidance=much: must be a number"),
        (["guidance=nan"], "guidance must be a number"),
        (["inputs=nowhere.png"], "nowhere.png"),
        (["block=0.9"], "block=0.9: the share of the picture"),
        (["blocks=60"], "masks do not fit"),
        (["future=4"], "future=4: observations of the shape (1, 32, 32) have no end"),
        (["width=9"], "width must be a multiple of 8"),
        (["masks=random"], "key 'masks' is not one of imagine's"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert imagine(run, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_released_weights_imagine_what_is_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, photos, out = save_official(tmp_path / "IN1K-toy.pth.tar"), tmp_path / "photos", tmp_path / "out"
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
        (photos / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(photos / f"class{number % 2}" / f"{number:02d}.png")
    assert imagine(file, out, f"heads={HEADS}", f"data.root={photos}") == 0
    facts = json.loads((out / "decoder.json").read_text())
    assert facts["network"]["tokens"] == [WIDTH, 3, 3]
    with Image.open(out / "imagined.png") as image:
        assert image.size[0] == 7 * 102 + 6
    capsys.readouterr()
    assert imagine(file, out, f"heads={HEADS}", f"data.root={photos}", "count=0") == 0
    assert "used again" in capsys.readouterr().out
    other = save_official(tmp_path / "other.pth.tar", predictor=wrapped(predictor(seed=9)))
    assert imagine(other, out, f"heads={HEADS}", f"data.root={photos}", "count=0") == 0
    assert "used again" not in capsys.readouterr().out


def test_where_nothing_predicts_there_is_nothing_to_show(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"checkpoint={run}", "format=timm", f"out={tmp_path / 'timm'}"]) == 0
    words = [f"checkpoint={tmp_path / 'timm'}", f"out={tmp_path / 'out'}"]
    capsys.readouterr()
    assert main(["imagine", *words, "data=patterns"]) == 2
    assert "holds an encoder only" in capsys.readouterr().err
    assert main(["imagine", *words]) == 2
    assert "brings no data with it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_diffusers_is_asked_for_by_the_name_of_its_extra(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert imagine(run, tmp_path / "out", "decoder=diffusers") == 2
    assert "pip install 'worldjepa[diffusion]'" in capsys.readouterr().err
    assert imagine(run, tmp_path / "out", "decoder=diffuser") == 2
    assert "did you mean 'diffusers'?" in capsys.readouterr().err


def test_the_future_of_a_world_is_imagined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world"
    words = [
        *("modality=trajectory", "data.size=16", "data.episodes=8", "data.steps=6", "data.horizon=4", "arch.dim=8"),
        *("arch.size=16", "arch.predictor.dim=8", "arch.predictor.depth=1", "run.batch_size=4", "run.steps=1"),
        *("run.threads=1", "run.accelerator=cpu", "run.tensorboard=false", "probe.enabled=false", f"run.out={world}"),
    ]
    assert main(["train", *words]) == 0
    out = tmp_path / "out"
    assert imagine(world, out) == 0
    entry = report(out)["factors"]["state"]
    assert entry["scenes"] == 10
    assert entry["radius"] == 0.06
    assert set(entry["median_error"]) == {"truth", "samples", "regression", "batch mean"}
    with Image.open(out / "imagined.png") as image:
        assert image.size == (5 * 102 + 6, 2 * 4 * (96 + 14 + 6) + 6)  # seen, after 1, 2, 4, trail
    capsys.readouterr()
    assert imagine(world, out, f"inputs={out}") == 2
    assert "inputs= are pictures, but this model sees (5, 2, 16, 16)" in capsys.readouterr().err
