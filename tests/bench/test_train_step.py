"""The step benchmark compares equal steps, and counts their arithmetic right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step_textbook, step_worldjepa
from benchmarks.contender import PARTS, Clock, Size
from benchmarks.flops import count
from benchmarks.train_step import SIZES, contest, median, prepare
from worldjepa.nn.attention import written_out
from worldjepa.types import Masks

TOY = Size(image=112, patch=16, dim=24, depth=2, heads=2, predictor_dim=16, predictor_depth=2, batch=2)


def test_the_plain_step_and_ours_have_the_same_losses_and_gradients(tmp_path: Path) -> None:
    work = prepare(TOY, "fp32", "cpu", False, tmp_path)
    model = step_worldjepa.model_of(TOY)
    model.load_state_dict(work.weights, strict=False)
    encoder, predictor = step_textbook.Encoder(TOY), step_textbook.Predictor(TOY)
    step_textbook.load(encoder, work.weights, "encoder.")
    step_textbook.load(predictor, work.weights, "predictor.")
    images = torch.randn(2, 3, 112, 112)
    masks = Masks(work.context[0][:, None], work.target[0])
    asked = list(work.target[0].unbind(1))
    context = model.encoder(images, masks.context)
    (answer,) = model.target(images, [masks])
    ours = model.predictor(context, answer.pos).x  # [B, M, Q, D]
    theirs = predictor(encoder(images, [work.context[0]]), [work.context[0]], asked)
    theirs = theirs.unflatten(0, (4, 2)).transpose(0, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    gradients = {f"encoder.{n}": p.grad for n, p in encoder.named_parameters()}
    gradients |= {f"predictor.{n}": p.grad for n, p in predictor.named_parameters()}
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-6, msg=name)
    assert len(gradients) > 40


def test_contenders_take_turns_at_the_same_work(tmp_path: Path) -> None:
    work = prepare(TOY, "fp32", "cpu", False, tmp_path)
    answers = contest(work, tmp_path / "work.pt", None, rounds=2)
    for ours, theirs in zip(answers["worldjepa"], answers["textbook"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert set(ours["parts"]) == set(theirs["parts"]) == set(PARTS)
    assert 0 < median(answers["worldjepa"], "backward") < median(answers["worldjepa"])


def test_arithmetic_is_counted_as_pytorch_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch does not count its fused kernel for processors.
    monkeypatch.setattr("worldjepa.nn.blocks.attend", lambda q, k, v, looks=None: written_out(q, k, v))
    model = step_worldjepa.model_of(TOY)
    images = torch.randn(1, 3, 112, 112)
    masks = Masks(torch.arange(20).view(1, 1, 20), torch.arange(20, 44).view(1, 4, 6))
    found = count(TOY, 20, 4, 6)
    with FlopCounterMode(display=False) as counter:
        (answer,) = model.target(images, [masks])
    assert counter.get_total_flops() == pytest.approx(found.target, rel=0.03)
    with FlopCounterMode(display=False) as counter:
        context = model.encoder(images, masks.context)
    assert counter.get_total_flops() == pytest.approx(found.context, rel=0.03)
    with FlopCounterMode(display=False) as counter:
        model.predictor(context, answer.pos)
    assert counter.get_total_flops() == pytest.approx(found.predictor, rel=0.03)


def test_published_sizes_have_the_published_arithmetic() -> None:
    # ViT-H/14 with 68 context and 44 target tokens: 652 GFLOP by the count of the plain step.
    assert count(SIZES["vith14"], 68, 4, 44, pruned=False).step / 1e9 == pytest.approx(652, rel=0.03)


def test_a_clock_that_is_not_asked_for_parts_keeps_none() -> None:
    clock = Clock("cpu", detailed=False)
    with clock("data"):
        pass
    assert clock.parts == {}
