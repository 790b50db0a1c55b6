"""Methods times modalities: golden losses run every pair; what makes no sense is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden.regenerate import ACTING, TOY, cases

from worldjepa.cli import main
from worldjepa.cli.compose import config_folder
from worldjepa.cli.options import open_library

GROUPS = open_library(config_folder(), []).groups()


def test_every_pair_of_method_and_modality_has_golden_losses() -> None:
    fits = {(m, n) for m in GROUPS["method"] for n in GROUPS["modality"] if (m in ACTING) == (n == "trajectory")}
    assert set(cases()) == {f"{method}-{modality}" for method, modality in fits}
    assert {name for name in GROUPS["method"] if name.startswith("world_")} <= set(ACTING) <= set(GROUPS["method"])
    assert set(TOY) == set(GROUPS["modality"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("modality=audio data=patterns", "data=patterns is for modality=image; modality=audio takes data=textures"),
        ("modality=image data=textures", "data=textures is for modality=audio; modality=image takes data=patterns"),
        ("modality=video data=textures", "data=textures is for modality=audio; modality=video takes data=moving"),
        ("modality=video masks=multiblock_official", "masks=multiblock_official is for images"),
        *((f"modality={modality} data.seed=-1", "data.seed=-1: must be a whole number") for modality in TOY),
        ("modality=audio arch=timm:vit_tiny_patch16_224", "'data.size' not found"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    words: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    out = tmp_path / "run"
    small = ["data.count=8"] if "masks=" in words else []
    assert main(["train", *words.split(), *small, "run.accelerator=cpu", "run.threads=1", f"run.out={out}"]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "Traceback" not in error
    assert not out.exists() or not any(file for file in out.iterdir() if file.name != ".lock")
