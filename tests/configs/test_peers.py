"""The published settings of MAE and LeJEPA are the published ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.test_all import composed, header, millions
from worldjepa.cli.validate import settings
from worldjepa.train.build import build_model
from worldjepa.train.schedules import plan


def published(preset: str, tmp_path: Path) -> Any:
    """The configuration of the command that a preset's header gives."""
    told = header(preset)
    assert set(told) == {"paper", "command", "expected", "hardware"}
    assert "not yet reproduced here" in told["expected"]
    words = shlex.split(told["command"].replace("DIR", str(tmp_path)))
    assert words[:3] == ["worldjepa", "train", f"preset={preset}"]
    return composed(*words[2:]).config


def test_mae(tmp_path: Path) -> None:
    config = published("mae_in1k_vitb16_ep800", tmp_path)
    run, optim, _ = settings(config)
    assert run.batch_size * run.devices * run.num_nodes == 4096
    schedule = plan(run, optim, samples=1_281_167, processes=64)
    assert (schedule.steps, schedule.warmup) == (
        pytest.approx(800 * 312.8, rel=1e-3),
        pytest.approx(40 * 312.8, rel=1e-3),
    )
    assert (optim.lr, optim.weight_decay, optim.betas) == (pytest.approx(1.5e-4 * 4096 / 256), 0.05, (0.9, 0.95))
    assert (config.masks.ratio, config.target.normalise) == (0.75, True)
    look = config.views
    assert (look.crop_scale, look.jitter, look.get("flip", 0.5)) == ([0.2, 1.0], 0.0, 0.5)
    with torch.device("meta"):
        model = build_model(config, steps=10)
    assert millions(model.encoder) == pytest.approx(85.65, rel=1e-3)
    assert model.predictor.predictor_proj.out_features == 3 * 16**2  # type: ignore[union-attr]
    blocks = model.predictor.predictor_blocks
    assert (len(blocks), blocks[0].attn.heads, model.predictor.dim) == (8, 16, 512)  # type: ignore[arg-type, index, union-attr]


def test_lejepa(tmp_path: Path) -> None:
    config = published("lejepa_imagenette_vits8", tmp_path)
    run, optim, _ = settings(config)
    assert (run.epochs, run.batch_size, config.data.size, config.arch.patch) == (800, 256, 128, 8)
    assert (optim.lr, optim.final_lr, optim.weight_decay) == (2e-3, pytest.approx(2e-3 / 1000), 0.05)
    assert sum(look.count for look in config.views.looks) == 4
    assert config.predictor.dim == 16
    invariance, gaussian = config.objective.parts
    assert (invariance.weight, gaussian.weight, gaussian.count, gaussian.of) == (0.98, 0.02, True, "predictions")
