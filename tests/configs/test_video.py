"""The configurations for videos: the official numbers are the official ones, and the small models run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from configs.test_all import GROUPS, composed, header, millions
from worldjepa.cli.validate import settings
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.schedules import plan
from worldjepa.types import Batch, Grid


class Official(NamedTuple):
    """What a published configuration says."""

    width: int
    heads: int
    predictor_heads: int
    crop: int
    frames: int
    batch: int
    devices: int
    global_batch: int


V1 = {
    "vjepa_vitl16": Official(1024, 16, 16, 224, 16, 24, 128, 3072),
    "vjepa_vith16": Official(1280, 16, 16, 224, 16, 24, 128, 3072),
    "vjepa_vith16_384": Official(1280, 16, 16, 384, 16, 10, 240, 2400),
}
V2 = {
    "vjepa2_vitl16": Official(1024, 16, 12, 256, 16, 24, 128, 3072),
    "vjepa2_vith16": Official(1280, 16, 12, 256, 16, 24, 128, 3072),
    "vjepa2_vitg16": Official(1408, 22, 12, 256, 16, 24, 128, 3072),
}
COOLDOWN = {
    "vjepa2_vitl16_cooldown": Official(1024, 16, 12, 256, 64, 12, 256, 3072),
    "vjepa2_vith16_cooldown": Official(1280, 16, 12, 256, 64, 12, 256, 3072),
    "vjepa2_vitg16_cooldown": Official(1408, 22, 12, 256, 64, 12, 256, 3072),
    "vjepa2_vitg16_384_cooldown": Official(1408, 22, 12, 384, 64, 6, 512, 3072),
}
ALL = {**V1, **V2, **COOLDOWN}


def official(preset: str, tmp_path: Path) -> Any:
    """The configuration of the command that a preset's header gives."""
    words = shlex.split(header(preset)["command"].replace("LISTS", f"{tmp_path}/a.csv,{tmp_path}/b.csv"))
    assert words[:3] == ["worldjepa", "train", f"preset={preset}"]
    return composed(*words[2:]).config


def test_no_official_preset_is_missing() -> None:
    assert {name for name in GROUPS["preset"] if name.startswith("vjepa")} == set(ALL)


@pytest.mark.parametrize("preset", ALL)
def test_the_head_of_a_preset_tells_all(preset: str) -> None:
    told = header(preset)
    assert set(told) == {"paper", "command", "expected", "hardware"}
    assert ("2404.08471" if preset in V1 else "2506.09985") in told["paper"]
    assert "not yet reproduced here" in told["expected"]
    assert f"{ALL[preset].devices} GPUs" in told["hardware"]


@pytest.mark.parametrize("preset", ALL)
def test_official_numbers(preset: str, tmp_path: Path) -> None:
    config, numbers = official(preset, tmp_path), ALL[preset]
    run, optim, _ = settings(config)
    assert run.devices * run.num_nodes == numbers.devices
    assert run.batch_size * numbers.devices == numbers.global_batch
    assert (run.precision, run.accumulate) == ("bf16-mixed", 1)
    data = config.data
    assert (data.size, data.frames, data.flip, list(data.crop_scale)) == (numbers.crop, numbers.frames, 0.5, [0.3, 1.0])
    assert (data.stride, data.fps) == ((4, None) if preset in V1 else (4, 4.0))
    assert config.arch.patch == 16
    assert config.modality.tokenizer.frames == 2
    assert (config.arch.dim, config.arch.encoder.heads) == (numbers.width, numbers.heads)
    predictor = config.predictor
    assert (predictor.dim, predictor.depth, predictor.heads, predictor.mask_std) == (
        384,
        12,
        numbers.predictor_heads,
        0,
    )
    assert predictor.mask_tokens == (2 if preset in V1 else 1)
    assert config.arch.encoder.get("init", "normal") == ("normal" if preset in V1 else "rescaled")
    code = {"_target_": "worldjepa.nn.rotary.Rotary", "axes": "thw", "tiled": True}
    if preset in V1:
        code = {"_target_": "worldjepa.nn.positions.SinCos", "axes": "thw"}
    assert config.positions == config.arch.encoder.positions == predictor.positions == code
    assert config.objective == {"_target_": "worldjepa.objectives.L1", "weight": 1.0}
    boxes = [(part.boxes, list(part.scale), list(part.aspect), list(part.duration)) for part in config.masks.parts]
    assert boxes == [(8, [0.15, 0.15], [0.75, 1.5], [1, 1]), (2, [0.7, 0.7], [0.75, 1.5], [1, 1])]
    assert all(part.official for part in config.masks.parts)
    assert (optim.betas, optim.eps, optim.ipe_scale) == ((0.9, 0.999), 1e-8, 1.25)


def test_schedules_of_vjepa(tmp_path: Path) -> None:
    config = official("vjepa_vitl16", tmp_path)
    run, optim, _ = settings(config)
    schedule = plan(run, optim, samples=2_000_000, processes=128)
    assert (schedule.steps, schedule.schedule, schedule.warmup) == (90_000, 112_500, 12_000)
    assert schedule.lr(0) == pytest.approx(2e-4, rel=1e-3)
    assert schedule.lr(11_999) == pytest.approx(6.25e-4)
    assert schedule.lr(112_499) == pytest.approx(1e-6)
    assert schedule.lr(89_999) > 5e-5  # the run stops before its schedules do
    assert (schedule.weight_decay(0), schedule.weight_decay(112_499)) == (pytest.approx(0.04), pytest.approx(0.4))
    assert (config.target.start, config.target.end) == (0.998, 1.0)
    assert run.clip_norm == 10.0


def test_schedules_of_vjepa2(tmp_path: Path) -> None:
    config = official("vjepa2_vitg16", tmp_path)
    run, optim, _ = settings(config)
    schedule = plan(run, optim, samples=22_000_000, processes=128)
    assert (schedule.steps, schedule.warmup, run.clip_norm) == (240_000, 12_000, None)
    assert schedule.lr(0) == pytest.approx(1e-4, rel=1e-3)
    assert {round(schedule.lr(step), 9) for step in (11_999, 100_000, 239_999)} == {5.25e-4}
    assert schedule.weight_decay(0) == schedule.weight_decay(239_999) == 0.04
    assert (config.target.start, config.target.end) == (0.99925, 0.99925)


def test_schedules_of_the_cooldown(tmp_path: Path) -> None:
    run, optim, _ = settings(official("vjepa2_vitg16_384_cooldown", tmp_path))
    schedule = plan(run, optim, samples=22_000_000, processes=512)
    assert (schedule.steps, schedule.schedule, schedule.warmup) == (12_000, 15_000, 0)
    assert schedule.lr(0) == pytest.approx(5.25e-4, rel=1e-3)
    assert schedule.lr(7_499) == pytest.approx((5.25e-4 + 1e-6) / 2)
    assert schedule.lr(11_999) == pytest.approx(5.25e-4 / 5, rel=0.01)
    assert run.init_from == "RUN"


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor"),
    [("vjepa2_vitl16", 303.9, 22.0), ("vjepa2_vith16", 631.6, 22.2), ("vjepa2_vitg16", 1012.2, 22.3)],
)
def test_published_numbers_of_parameters(preset: str, encoder: float, predictor: float, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build_model(official(preset, tmp_path), steps=10)
    assert millions(model.encoder) == pytest.approx(encoder, rel=1e-3)
    assert millions(model.predictor) == pytest.approx(predictor, rel=1e-2)
    assert model.encoder.grid((3, 16, 256, 256)) == Grid(8, 16, 16)


@pytest.mark.parametrize("method", ["vjepa", "vjepa2", "ijepa"])
def test_small_models_run_on_clips_and_on_images(method: str) -> None:
    for words, shape in (
        (("modality=video", f"method={method}"), (1, 8, 48, 48)),
        (("modality=image", "data=patterns", f"method={method}"), (1, 64, 64)),
    ):
        config = composed(*words, "masks.min_context=4" if method == "ijepa" else "probe.enabled=true").config
        model = build_model(config, steps=10)
        masks = build_sampler(config)(model.encoder.grid(shape), 2, torch.Generator().manual_seed(0))
        terms = model(Batch(torch.zeros(2, *shape, dtype=torch.uint8), masks))
        assert all(torch.isfinite(term) for term in terms.values())


def test_own_videos_get_the_reference_settings(tmp_path: Path) -> None:
    result = composed("modality=video", f"data.root={tmp_path}")
    config = result.config
    assert [note.split(",")[0] for note in result.notes] == ["method=vjepa", "data=videos", "preset=reference_video"]
    assert config.data._target_ == "modalities.video.data.Videos"
    assert (config.data.size, config.data.frames, config.data.stride) == (224, 16, 4)
    assert (config.arch.patch, config.arch.dim, config.arch.encoder.depth) == (16, 1024, 24)
    _, optim, _ = settings(config)
    assert (optim.start_lr, optim.lr, optim.final_lr, optim.ipe_scale) == (2e-4, 6.25e-4, 1e-6, 1.25)
    other = composed("data=ssv2", f"data.root={tmp_path}")
    assert other.config.data.flip == 0.0
    assert other.notes[0].startswith("modality=video")


def test_what_comes_with_the_package_gets_the_small_model() -> None:
    for words in (("modality=video",), ("data=moving",), ("preset=quickstart_video",)):
        config = composed(*words).config
        assert config.data._target_ == "modalities.video.data.Moving"
        assert (config.arch.dim, config.masks._target_) == (96, "worldjepa.boxes.Several")
