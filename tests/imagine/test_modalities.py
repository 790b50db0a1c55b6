"""`worldjepa imagine` on toys of clips and sounds: what it writes, measures and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from modalities.audio.embedded import Textures
from modalities.video import embedded as clips
from worldjepa.cli import imagined_measure, main

SIZES = {"train": 12, "val": 8, "test": 8}
QUICK = [
    *("steps=2", "control=2", "batch=4", "examples=8", "samples=2", "denoise=2", "rows=2", "count=8", "width=8"),
    "run.accelerator=cpu",
]
TOY = [
    *("arch=quickstart", "arch.dim=24", "arch.encoder.depth=1", "arch.encoder.heads=2", "arch.predictor.dim=24"),
    *("arch.predictor.depth=1", "arch.predictor.heads=2", "run.batch_size=4", "run.log_every=1", "run.accelerator=cpu"),
    *("run.threads=1", "run.workers=0", "run.tensorboard=false", "probe.enabled=false", "run.steps=1", "data.count=8"),
]
SETS = {
    "audio": ("data.frames=32", "masks.min_context=4"),
    "video": ("data.size=32", "data.frames=4", "data.length=8"),
}
FACTORS = {"audio": {"texture", "density"}, "video": {"direction", "texture"}}
SOUNDS = [
    f"sounds/{number:02d}-{name}.wav"
    for number in (1, 2)
    for name in ("context", "regression", "sample-1", "sample-2", "truth")
]
FILES = {"audio": SOUNDS, "video": ["imagined.gif", "imagined.mp4"]}


@pytest.fixture(scope="module", params=["audio", "video"])
def modality(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def run(modality: str, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a toy, of which little is measured by a judge that learns next to nothing."""
    out = tmp_path_factory.mktemp("run") / modality
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "PROBE_SIZES", SIZES)
        patch.setattr(Textures, "probe_sizes", SIZES)
        patch.setattr(imagined_measure, "JUDGE_STEPS", 2)
        assert main(["train", f"modality={modality}", *TOY, *SETS[modality], f"run.out={out}"]) == 0
        yield out


def test_a_part_is_imagined_drawn_played_and_measured(modality: str, run: Path, tmp_path: Path) -> None:
    assert main(["imagine", f"checkpoint={run}", f"out={tmp_path}", *QUICK]) == 0
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == sorted(["decoder.json", "decoder.safetensors", "imagined.png", "measure.json", *FILES[modality]])
    found = json.loads((tmp_path / "measure.json").read_text())
    assert set(found["factors"]) == FACTORS[modality]
    assert found["scenes"] == 8
    for entry in found["factors"].values():
        assert set(entry["share"]) == {"truth", "samples", "regression", "batch mean"}


def test_the_end_is_imagined(modality: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end = {"audio": 8, "video": 2}[modality]
    words = [f"checkpoint={run}", f"out={tmp_path}", *QUICK[:-1], "run.accelerator=cpu"]
    quiet = [word for word in words if not word.startswith("count=")]
    assert main(["imagine", *quiet, "count=0", f"future={end}"]) == 0
    with Image.open(tmp_path / "imagined.png") as image:
        assert image.width > 300
    assert json.loads((tmp_path / "decoder.json").read_text())["key"]["future"] == end
    capsys.readouterr()
    assert main(["imagine", *words, f"future={end + 1}"]) == 2
    assert f"future={end + 1}: a multiple of the {end} frames of a token" in capsys.readouterr().err
    (tmp_path / "one.png").touch()
    assert main(["imagine", *words, f"inputs={tmp_path / 'one.png'}"]) == 2
    assert "inputs= are pictures, but this model sees" in capsys.readouterr().err
