"""Schedules against the published formulas, and which parameters decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.jepa import JEPA
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.train.optim import build_optimizer, named_parts, set_schedules
from worldjepa.train.schedules import Plan, plan
from worldjepa.train.settings import OptimSettings, RunSettings

START, PEAK, FINAL, DECAY, FINAL_DECAY = 2e-4, 1e-3, 1e-6, 0.04, 0.4
STEPS, WARMUP = 1000, 40


def planned(ipe_scale: float = 1.0, **run: Any) -> Plan:
    optim = OptimSettings(warmup_epochs=WARMUP / 10, ipe_scale=ipe_scale)
    return plan(RunSettings(**{"epochs": 100, "batch_size": 5, **run}), optim, samples=50, processes=1)


def test_lengths() -> None:
    made = planned(1.25)
    assert (made.steps, made.schedule, made.warmup, made.global_batch) == (STEPS, 1250, WARMUP, 5)
    assert made.epoch(25) == 2.5
    assert planned(accumulate=2).steps == 500
    assert planned(epochs=None, steps=77).steps == 77


@pytest.mark.parametrize("ipe_scale", [1.0, 1.25])
def test_published_formulas(ipe_scale: float) -> None:
    made = planned(ipe_scale)
    total = STEPS * ipe_scale
    for k in (1, WARMUP - 1, WARMUP, WARMUP + 1, STEPS // 2, int(total) // 2, STEPS):
        if k < WARMUP:
            lr = START + k / WARMUP * (PEAK - START)
        else:
            lr = max(FINAL, FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * (k - WARMUP) / (total - WARMUP))))
        decay = FINAL_DECAY + (DECAY - FINAL_DECAY) * 0.5 * (1 + math.cos(math.pi * k / total))
        assert made.lr(k - 1) == pytest.approx(lr, rel=1e-12), k
        assert made.weight_decay(k - 1) == pytest.approx(decay, rel=1e-12), k


def test_landmarks() -> None:
    made = planned()
    assert made.lr(0) == pytest.approx(START + (PEAK - START) / WARMUP)
    assert made.lr(WARMUP - 1) == PEAK
    assert made.lr(STEPS - 1) == pytest.approx(FINAL)
    assert made.weight_decay(STEPS // 2 - 1) == pytest.approx((DECAY + FINAL_DECAY) / 2)
    assert made.weight_decay(STEPS - 1) == pytest.approx(FINAL_DECAY)
    assert made.lr(STEPS + 100) == made.lr(STEPS - 1)
    stretched = planned(1.25)
    assert stretched.lr(STEPS - 1) > 10 * FINAL
    assert stretched.weight_decay(STEPS - 1) < FINAL_DECAY


@pytest.mark.parametrize("ipe_scale", [1.0, 1.25])
def test_momentum(ipe_scale: float) -> None:
    total = planned(ipe_scale).schedule
    target = EMA(toy().encoder, steps=total)
    for i in (0, WARMUP, STEPS // 2, STEPS - 1):
        assert target.momentum(i) == pytest.approx(0.996 + i * (1.0 - 0.996) / (STEPS * ipe_scale), rel=1e-12)


def test_no_warmup() -> None:
    made = plan(RunSettings(steps=10), OptimSettings(warmup_steps=0), samples=64, processes=1)
    assert made.lr(0) == pytest.approx(FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi / 10)))
    shared = plan(RunSettings(steps=10), OptimSettings(warmup_share=0.25), samples=64, processes=1)
    assert shared.warmup == 2


@pytest.mark.parametrize(
    ("run", "optim", "samples", "words"),
    [
        ({"steps": 5, "epochs": 1}, {"warmup_steps": 0}, 100, ["run.steps (now 5)", "run.epochs (now 1"]),
        ({}, {"warmup_steps": 0}, 100, ["give one of run.steps (now None)"]),
        ({"steps": 5}, {}, 100, ["give one of", "optim.warmup_epochs", "none of them"]),
        ({"steps": 5}, {"warmup_steps": 1, "warmup_epochs": 1}, 100, ["warmup_steps=1", "warmup_epochs=1"]),
        ({"steps": 5}, {"warmup_steps": 6}, 100, ["warm-up of 6 steps", "schedule of 5 steps"]),
        ({"epochs": 1, "batch_size": 100}, {"warmup_steps": 0}, 40, ["40 samples", "batches of 100"]),
        ({"steps": 5}, {"warmup_steps": 0}, 0, ["empty"]),
    ],
)
def test_contradictions(run: dict[str, Any], optim: dict[str, Any], samples: int, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        plan(RunSettings(**run), OptimSettings(**optim), samples, processes=1)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def toy() -> JEPA:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 8), dim=8, depth=1, heads=2)
    return JEPA(encoder, MaskTokenViT(8, dim=8, depth=1, heads=2), EMA(encoder, 10), SmoothL1())


def test_groups() -> None:
    model = toy()
    optimizer = build_optimizer(model, OptimSettings())
    names = {group["name"]: group["names"] for group in optimizer.param_groups}
    assert list(names) == ["encoder", "predictor", "encoder_no_decay", "predictor_no_decay"]
    block = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    weights = [f"blocks.0.{layer}.weight" for layer in block]
    assert names["encoder"] == ["encoder.tokenizer.proj.weight", *(f"encoder.{name}" for name in weights)]
    assert names["predictor"] == [
        "predictor.mask_token",
        "predictor.predictor_embed.weight",
        *(f"predictor.predictor_{name}" for name in weights),
        "predictor.predictor_proj.weight",
    ]
    spared = names["encoder_no_decay"] + names["predictor_no_decay"]
    assert all(name.endswith("bias") or "norm" in name for name in spared)
    assert "encoder.norm.weight" in names["encoder_no_decay"]
    trained = [name for name, _ in model.named_parameters() if not name.startswith("target.")]
    assert sorted(name for members in names.values() for name in members) == sorted(trained)
    for group in optimizer.param_groups:
        parameters = dict(model.named_parameters())
        assert all(parameters[name] is p for name, p in zip(group["names"], group["params"], strict=True))
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8


def test_schedules_reach_the_groups() -> None:
    optimizer = build_optimizer(toy(), OptimSettings())
    made = planned()
    lr, decay = set_schedules(optimizer, made, 500)
    assert (lr, decay) == (made.lr(500), made.weight_decay(500))
    for group in optimizer.param_groups:
        assert group["lr"] == lr
        assert group["weight_decay"] == (0.0 if "no_decay" in group["name"] else decay)


def test_frozen_parameters_are_left_out() -> None:
    model = toy()
    model.encoder.requires_grad_(False)
    parts = named_parts(model)
    assert not parts["encoder"]
    assert not parts["encoder_no_decay"]
    names = [group["name"] for group in build_optimizer(model, OptimSettings()).param_groups]
    assert names == ["predictor", "predictor_no_decay"]


def test_the_peak_can_be_held_until_the_last_steps() -> None:
    optim = OptimSettings(
        lr=4.25e-4, start_lr=7.5e-5, final_lr=0.0, decay="linear", decay_steps=4_500, warmup_steps=4_500
    )
    schedule = plan(RunSettings(steps=94_500, batch_size=8), optim, samples=10_000, processes=32)
    assert schedule.lr(0) == pytest.approx(7.5e-5 + (4.25e-4 - 7.5e-5) / 4_500)
    assert {round(schedule.lr(step), 12) for step in (4_499, 4_500, 50_000, 89_999)} == {4.25e-4}
    assert schedule.lr(90_000) == pytest.approx(4.25e-4 * (1 - 1 / 4_500))
    assert schedule.lr(92_249) == pytest.approx(4.25e-4 / 2)
    assert schedule.lr(94_499) == 0.0
    with pytest.raises(UserError, match=r"decay_steps=4500 do not fit into a schedule of 8000"):
        plan(RunSettings(steps=8_000, batch_size=8), optim, samples=10_000, processes=32)
