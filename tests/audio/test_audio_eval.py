"""`worldjepa eval` on a run of sounds: the baselines are those of training, normalisation of the data included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audio.test_audio_training import TOY

from modalities.audio.data import Textures
from worldjepa.cli import main


def test_the_untrained_encoder_is_the_one_that_training_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Textures, "probe_sizes", {"train": 48, "val": 24, "test": 48})
    words = [
        "preset=quickstart_audio",
        "data.count=32",
        "data.frames=32",
        "masks.min_context=4",
        "run.steps=2",
        *TOY,
        "probe.enabled=true",
    ]
    assert main(["train", "modality=audio", *words, f"run.out={tmp_path / 'run'}"]) == 0
    assert main(["eval", f"checkpoint={tmp_path / 'run'}", f"out={tmp_path / 'scores.json'}"]) == 0
    trained = json.loads((tmp_path / "run/report.json").read_text())
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    names = [name for name in scores["untrained encoder"] if name.startswith("eval/") and name.endswith("_top1")]
    assert names
    for name in names:
        assert scores["untrained encoder"][name] == trained["baselines"]["untrained encoder"][name]
        assert scores["trained encoder (2 steps)"][name] == trained["trained"][name]
    assert scores["untrained encoder"]["collapse/rankme"] == pytest.approx(
        trained["baselines"]["untrained encoder"]["collapse/rankme"], rel=1e-4
    )
