"""docs/video.md: its commands for one encoder of clips and images run, and make one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import worldjepa
from modalities.image import embedded as embedded_images
from modalities.video import embedded
from worldjepa.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "video.md"
TOY = [
    *("arch.patch=8", "arch.dim=24", "arch.encoder.depth=1", "arch.encoder.heads=2", "arch.predictor.dim=24"),
    *("arch.predictor.heads=2", "data.count=16", "run.steps=2", "run.batch_size=4", "run.threads=1", "run.workers=0"),
    *("run.accelerator=cpu", "run.tensorboard=false"),
]
MEASURE = ["data.count=16", "run.accelerator=cpu", "probe.enabled=false"]


def test_one_encoder_of_clips_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    for module in (embedded, embedded_images):
        monkeypatch.setattr(module, "PROBE_SIZES", {"train": 8, "val": 8, "test": 8})
    (block,) = re.findall(r"^```sh\n(worldjepa train modality=video run\.out=.*?)^```", PAGE.read_text(), re.M | re.S)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [words[1] for words in commands] == ["train", "train", "eval", "eval"]
    for words in commands:
        more = [*TOY, "probe.enabled=false"] if words[1] == "train" else MEASURE
        assert main([*words[1:], *more]) == 0
    clips, both = (worldjepa.load(tmp_path / name, which="encoder") for name in ("clips", "both"))
    assert (clips.facts["image"], both.facts["image"]) == ((1, 8, 48, 48), (1, 48, 48))
    drawn = torch.randint(256, (1, 1, 8, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for seen, tokens in ((drawn, 4 * 36), (drawn[:, :, :1], 36), (drawn[:, :, 0], 36)):
        assert both.encode(seen).x.shape == (1, tokens, 24)
        assert not torch.equal(both.encode(seen).x, clips.encode(seen).x)


def test_images_stand_among_videos_as_files_of_one_frame(tmp_path: Path) -> None:
    from modalities.video.data import Videos
    from video.media import video

    (tmp_path / "still.mp4").write_bytes(video(frames=1))
    (tmp_path / "video.mp4").write_bytes(video())
    clips = Videos(str(tmp_path), frames=4, stride=2, size=32, holdout=0).train()
    still, moving = (clips.observe(i, torch.Generator().manual_seed(0)) for i in range(2))
    assert still.shape == moving.shape == (3, 4, 32, 32)
    assert torch.equal(still, still[:, :1].expand(-1, 4, -1, -1))
    assert not torch.equal(moving[:, 0], moving[:, 1])
