"""Training on sounds: recordings of one's own with bad ones among them, normalisation in the checkpoint, exact resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from worldjepa.cli import main

TOY = [
    *("arch=quickstart", "arch.dim=24", "arch.encoder.depth=1", "arch.encoder.heads=2", "arch.predictor.dim=24"),
    *("arch.predictor.depth=1", "arch.predictor.heads=2", "run.batch_size=4", "run.log_every=1", "run.accelerator=cpu"),
    *("run.threads=1", "run.workers=0", "run.tensorboard=false", "probe.enabled=false", "run.eval_every=null"),
]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLDJEPA_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        yield


def train(out: Path, *words: str) -> int:
    return main(["train", "modality=audio", *TOY, f"run.out={out}", *words])


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The model of the newest checkpoint."""
    newest = max((out / "checkpoints").glob("step-*"))
    found: dict[str, torch.Tensor] = {}
    for file in sorted(newest.glob("*.safetensors")):
        found |= {f"{file.stem}/{name}": value for name, value in load_file(file).items()}
    return found


@pytest.mark.parametrize("method", ["ajepa", "m2d"])
def test_a_run_goes_on_bit_for_bit(method: str, tmp_path: Path) -> None:
    words = ["preset=quickstart_audio", "data.count=32", "data.frames=32", f"method={method}", "run.steps=6"]
    words += ["run.save_every=3", "run.keep=5"]
    assert train(tmp_path / "whole", *words) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step-00000006")
    assert train(tmp_path / "cut", *words, "run.resume=auto") == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []


def recordings(root: Path) -> set[str]:
    """Thirty sound files of many kinds and two bad ones; returns the names of the bad ones."""
    rng = np.random.default_rng(0)
    for number in range(30):
        rate, channels = (8_000, 16_000, 44_100)[number % 3], (1, 2, 6)[number % 3]
        path = root / f"{'ab'[number % 2]}/{number}.{('wav', 'flac')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal((rate, channels)), rate)
    broken = np.full(16_000, np.nan, np.float32)
    soundfile.write(root / "a/nan.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(root / "b/one.wav", broken[:1] * 0, 16_000)
    return {str(root / "a/nan.wav"), str(root / "b/one.wav")}


def test_recordings_of_ones_own_with_bad_ones_among_them(tmp_path: Path) -> None:
    bad = recordings(tmp_path / "mine")
    words = [f"data.root={tmp_path / 'mine'}", "data.frames=32", "arch.patch=16", "method=audiojepa", "data.holdout=0"]
    words += ["run.steps=10", "run.precision=32-true", "run.devices=1", "data.max_bad_fraction=0.2"]
    out = tmp_path / "run"
    assert train(out, *words) == 0
    listed = {
        json.loads(line)["name"]: json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()
    }
    assert set(listed) == bad
    assert "not finite" in listed[str(tmp_path / "mine/a/nan.wav")]["reason"]
    found = weights(out)
    means = [value for name, value in found.items() if name.endswith("tokenizer.mean")]
    assert means
    # The data's own: white noise at a tenth of full scale, and the same for encoder and moving average.
    assert all(torch.equal(value, means[0]) and -12 < float(value[0]) < -3 for value in means)
