"""The configuration of V-JEPA 2-AC: the published numbers are the published ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.test_all import composed, header, millions
from worldjepa.cli.validate import settings
from worldjepa.future import Future
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.schedules import plan
from worldjepa.types import Batch, Grid, Tokens

PRESET = "droid_vjepa2_ac_vitg16"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """The configuration of the command that the preset's header gives."""
    words = shlex.split(header(PRESET)["command"].replace("DIR", str(tmp_path)))
    assert words[:2] == ["worldjepa", "train"]
    assert f"preset={PRESET}" in words
    return composed(*words[2:]).config


def test_the_head_of_the_preset_tells_all() -> None:
    told = header(PRESET)
    assert set(told) == {"paper", "command", "expected", "hardware"}
    assert "2506.09985" in told["paper"]
    assert "not yet reproduced here" in told["expected"]
    assert "32 GPUs" in told["hardware"]


def test_published_numbers(config: Any) -> None:
    run, optim, _ = settings(config)
    assert run.batch_size * run.devices * run.num_nodes == 256
    schedule = plan(run, optim, samples=1_000_000, processes=32)
    assert (schedule.steps, schedule.warmup, optim.decay_steps, optim.decay) == (315 * 300, 4_500, 4_500, "linear")
    assert (optim.start_lr, optim.lr, optim.final_lr) == (7.5e-5, 4.25e-4, 0.0)
    assert (optim.weight_decay, optim.final_weight_decay, run.clip_norm) == (0.04, 0.04, None)
    data = config.data
    assert (data.history + data.horizon, data.skip, data.proprioception) == (8, 1, True)
    assert config.objective == {"_target_": "worldjepa.objectives.L1", "weight": 2.0}
    assert config.target._target_ == "worldjepa.targets.Frozen"
    rollout, teacher = build_sampler(config)(Grid(8), 1, torch.Generator())
    assert isinstance(build_sampler(config), Future)
    assert (rollout.context.tolist(), rollout.target.tolist()) == ([[[0]]], [[[1, 2]]])
    assert (teacher.context.tolist(), teacher.target.tolist()) == ([[[*range(7)]]], [[[*range(1, 8)]]])


def test_published_sizes(config: Any) -> None:
    with torch.device("meta"):
        model = build_model(config, steps=10)
    assert millions(model.encoder) == pytest.approx(1012.2, rel=1e-3)
    assert millions(model.predictor) == pytest.approx(305, rel=1e-2)
    assert model.encoder.grid((8, 3, 256, 256)) == Grid(8, 16, 16)
    predictor: Any = model.predictor
    blocks = predictor.predictor_blocks
    assert (predictor.dim, len(blocks), predictor.heads, predictor.lattice) == (1024, 24, 16, 16)
    assert (predictor.history, predictor.layer_normed, predictor.positions.tiled) == (8, True, True)
    assert (predictor.actions.parts, predictor.actions.normalise) == ([7, 7], False)


def test_the_small_model_learns_its_predictor_only() -> None:
    words = ("arch=ac_tiny_frames", "data.proprioception=true", "data.horizon=4")
    config = composed("modality=trajectory", "method=vjepa2_ac", *words).config
    model = build_model(config, steps=10)
    obs = torch.randint(256, (2, 5, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    masks = build_sampler(config)(model.encoder.grid(obs.shape[1:]), 2, torch.Generator())
    terms = model(Batch(obs, masks, Tokens(torch.randn(2, 4, 4), Grid(4).pos().expand(2, -1, -1))))
    terms["l1"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in model.predictor.parameters())
