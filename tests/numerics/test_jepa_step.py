"""Three whole training steps of I-JEPA against a literal restatement."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.interfaces import Encoder
from worldjepa.jepa import JEPA, mean_terms
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.train.optim import build_optimizer, set_schedules
from worldjepa.train.schedules import plan
from worldjepa.train.settings import OptimSettings, RunSettings
from worldjepa.types import Batch, Grid, Masks, Tokens

from .reference import Weights, encode, normalise, pick, predict, smooth_l1

B, STEPS, EPOCHS, WARMUP = 3, 3, 10, 2
DEPTH, HEADS = 2, 2
START, PEAK, FINAL, DECAY, FINAL_DECAY = 2e-4, 1e-3, 1e-6, 0.04, 0.4


def make() -> JEPA:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 16), dim=16, depth=DEPTH, heads=HEADS)
    predictor = MaskTokenViT(16, dim=8, depth=DEPTH, heads=HEADS)
    for part in (encoder, predictor):
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    # Double precision: AdamW's first steps are the signs of gradients, some of which are 0 but for rounding.
    return JEPA(encoder, predictor, EMA(encoder, steps=EPOCHS, start=0.9), SmoothL1()).double()


def batch(step: int) -> Batch:
    rng = torch.Generator().manual_seed(100 + step)
    images = torch.randn(B, 3, 16, 16, generator=rng, dtype=torch.float64)
    order = torch.stack([torch.randperm(16, generator=rng) for _ in range(B)])
    return Batch(images, [Masks(order[:, None, :7], order[:, 7:].view(B, 3, 3))])


class Literal:
    """The method step by step, on a dictionary of weights."""

    def __init__(self, model: JEPA) -> None:
        self.w: Weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in self.w.items()}

    def part(self, prefix: str) -> Weights:
        return {name.removeprefix(prefix): value for name, value in self.w.items() if name.startswith(prefix)}

    def loss(self, images: Tensor, masks: Masks) -> Tensor:
        seen, asked = list(masks.context.unbind(1)), list(masks.target.unbind(1))
        with torch.no_grad():
            h = normalise(encode(images, self.part("target.encoder."), HEADS, DEPTH), 1e-5)
            h = pick(h, asked)
            h = torch.cat([h.view(len(asked), B, *h.shape[1:])] * len(seen), 1).flatten(0, 1)
        z = encode(images, self.part("encoder."), HEADS, DEPTH, seen)
        z = predict(z, self.part("predictor."), (4, 4), HEADS, DEPTH, seen, asked)
        return smooth_l1(z, h)

    def step(self, k: int, images: Tensor, masks: Masks) -> tuple[float, Weights]:
        """Step k, counted from 1; returns loss and gradients."""
        trained = [name for name in self.w if not name.startswith("target.")]
        for name in trained:
            self.w[name].requires_grad_()
        loss = self.loss(images, masks)
        gradients = dict(zip(trained, torch.autograd.grad(loss, [self.w[name] for name in trained]), strict=True))
        self.w = {name: value.detach() for name, value in self.w.items()}

        if k < WARMUP:
            lr = START + k / WARMUP * (PEAK - START)
        else:
            lr = FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * (k - WARMUP) / (EPOCHS - WARMUP)))
        decay = FINAL_DECAY + (DECAY - FINAL_DECAY) * 0.5 * (1 + math.cos(math.pi * k / EPOCHS))
        for name, g in gradients.items():
            m, v = self.moments[name]
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            if "bias" not in name and g.ndim > 1:
                self.w[name] = self.w[name] * (1 - lr * decay)
            towards = (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)
            self.w[name] = self.w[name] - lr * towards

        momentum = 0.9 + (k - 1) * (1.0 - 0.9) / EPOCHS
        for name in self.part("target.encoder."):
            mine, theirs = self.w["target.encoder." + name], self.w["encoder." + name]
            self.w["target.encoder." + name] = momentum * mine + (1 - momentum) * theirs
        return float(loss.detach()), gradients


def near(ours: Tensor, theirs: Tensor, name: str) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=lambda text: f"{name}: {text}")


def test_three_steps() -> None:
    model = make()
    literal = Literal(model)
    optim = OptimSettings(lr=PEAK, start_lr=START, final_lr=FINAL, warmup_epochs=WARMUP)
    schedule = plan(RunSettings(epochs=EPOCHS, batch_size=B), optim, samples=B, processes=1)
    assert (schedule.steps, schedule.warmup) == (EPOCHS, WARMUP)
    optimizer = build_optimizer(model, optim)
    for step in range(STEPS):
        current = batch(step)
        assert isinstance(current.obs, Tensor)
        set_schedules(optimizer, schedule, step)
        optimizer.zero_grad()
        loss = sum(model(current).values())
        assert isinstance(loss, Tensor)
        loss.backward()
        gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        optimizer.step()
        model.target.update(model.encoder, step)

        expected, theirs = literal.step(step + 1, current.obs, current.masks[0])
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
        assert gradients.keys() == theirs.keys()
        for name, gradient in gradients.items():
            near(gradient, theirs[name], f"gradient of {name} at step {step}")
        for name, value in model.named_parameters():
            near(value.detach(), literal.w[name], f"{name} after step {step}")
    moved = [name for name, value in make().named_parameters() if not torch.equal(value, literal.w[name])]
    assert len(moved) == len(literal.w), "the comparison would be empty"


def test_momentum_rises_to_its_end() -> None:
    model = make()
    target = model.target
    assert isinstance(target, EMA)
    assert [round(target.momentum(step), 12) for step in (0, 1, 5, 10, 20)] == [0.9, 0.91, 0.95, 1.0, 1.0]
    assert target.update(model.encoder, 5) == {"ema": target.momentum(5)}


def test_an_update_at_momentum_one_moves_nothing() -> None:
    model = make()
    before = [parameter.clone() for parameter in model.target.parameters()]
    for parameter in model.encoder.parameters():
        parameter.data += 1
    model.target.update(model.encoder, EPOCHS)
    assert all(map(torch.equal, before, model.target.parameters()))


def test_targets_carry_no_gradient() -> None:
    model = make()
    current = batch(0)
    (answer,) = model.target(current.obs, current.masks)
    assert not answer.x.requires_grad
    sum(model(current).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in model.target.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


class Small(Encoder):
    """Gives back what it is given, a thousandth of it: then the epsilon of a layer norm shows."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.scale = 6, nn.Parameter(torch.tensor(1e-3))

    def grid(self, obs_shape: Any) -> Grid:
        return Grid(1, 4, 4)

    def forward(self, obs: Any, keep: Any = None) -> Tokens:
        return Tokens(obs * self.scale, Grid(1, 4, 4).pos().expand(len(obs), -1, -1))


@pytest.mark.parametrize("normalise_answers", [True, False])
def test_answers_are_normalised_with_pytorchs_epsilon(normalise_answers: bool) -> None:
    target = EMA(Small(), steps=1, normalise=normalise_answers)
    obs = torch.randn(2, 16, 6)
    index = torch.arange(16).expand(2, 1, 16)
    (answer,) = target(obs, [Masks(index, index)])
    expected = normalise(obs * 1e-3, 1e-5) if normalise_answers else obs * 1e-3
    torch.testing.assert_close(answer.x[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(normalise(obs * 1e-3, 1e-6), normalise(obs * 1e-3, 1e-5), rtol=0.1)


def test_terms_are_averaged_over_masks() -> None:
    model, current = make(), batch(0)
    other = Masks(current.masks[0].target[:, :1], current.masks[0].context)
    each = [sum(model(Batch(current.obs, [masks])).values()) for masks in (current.masks[0], other)]
    both = model(Batch(current.obs, [current.masks[0], other]))["smooth_l1"]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    with pytest.raises(ValueError, match="different terms"):
        mean_terms([{"a": torch.zeros(())}, {"b": torch.zeros(())}])


def test_each_of_a_steps_masks_asks_with_a_token_of_its_own() -> None:
    model = make()
    model.predictor = MaskTokenViT(16, dim=8, depth=1, heads=HEADS, mask_tokens=2).double()
    step = batch(0)
    (only,) = step.masks
    for masks in (1, 2, 3):
        model.zero_grad()
        torch.stack(list(model(step._replace(masks=[only] * masks)).values())).sum().backward()
        grad = model.predictor.mask_token.grad
        assert grad is not None
        asked = grad.flatten(1).abs().sum(1) > 0
        assert asked.tolist() == [True, masks > 1]
