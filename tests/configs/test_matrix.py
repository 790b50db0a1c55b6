"""Methods times modalities: golden losses run every pair; what makes no sense is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden.regenerate import ACTING, RUN, TOY, cases

from worldjepa.cli import main
from worldjepa.cli.compose import config_folder
from worldjepa.cli.options import open_library

GROUPS = open_library(config_folder(), []).groups()


PAIRS = {f"{method}-{modality}" for method in GROUPS["method"] for modality in GROUPS["modality"]}


def test_every_modality_is_made_small_for_golden_losses() -> None:
    assert set(TOY) == set(GROUPS["modality"])
    assert set(cases()) < PAIRS
    assert {name for name in GROUPS["method"] if name.startswith("world_")} <= set(ACTING) <= set(GROUPS["method"])


@pytest.mark.parametrize("pair", sorted(PAIRS - set(cases())))
def test_a_pair_of_method_and_modality_without_golden_losses_is_refused_with_the_reason(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    method, _, modality = pair.rpartition("-")
    words = [f"modality={modality}", *RUN, *TOY[modality], f"method={method}", f"run.out={tmp_path / 'run'}"]
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert f"method={method} is for modality=" in error
    assert len(error.strip().splitlines()) == 1, error


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
