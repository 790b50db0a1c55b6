"""Decoding with diffusers, against stand-ins with the signatures and formulae of its classes: importing it takes seconds."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.imagine.decoders import Condition, Denoiser
from worldjepa.imagine.saved import built
from worldjepa.imagine.with_diffusers import LEVELS, Attending, Diffusers


class Net(nn.Module):
    """`UNet2DConditionModel`, as far as it is used."""

    def __init__(
        self, in_channels: int, cross_attention_dim: int, projection_class_embeddings_input_dim: int, **kind: Any
    ):
        super().__init__()
        assert kind["class_embed_type"] == "projection"
        self.draw = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.what = nn.Linear(cross_attention_dim + projection_class_embeddings_input_dim + 1, 1)

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, class_labels: Tensor
    ) -> SimpleNamespace:
        told = torch.cat([encoder_hidden_states.square().mean(1), class_labels, timestep[:, None] / 1000], 1)
        return SimpleNamespace(sample=self.draw(sample) + self.what(told)[..., None, None])


class Scheduler:
    """`DDIMScheduler`: its cosine schedule, without the last correction, and its step without noise."""

    def __init__(self, levels: int, **kind: Any) -> None:
        assert kind["prediction_type"] == "v_prediction"
        assert kind["timestep_spacing"] == "trailing"
        share = (torch.arange(levels + 1, dtype=torch.float64) / levels + 0.008) / 1.008
        bars = (share * torch.pi / 2).cos().square()
        betas = (1 - bars[1:] / bars[:-1]).clamp(max=0.999)
        self.alphas_cumprod = (1 - betas).cumprod(0).float()
        self.levels = levels

    def shares(self, level: Tensor) -> tuple[Tensor, Tensor]:
        bar = self.alphas_cumprod[level].view(-1, 1, 1, 1)
        return bar.sqrt(), (1 - bar).sqrt()

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        a, s = self.shares(level)
        return a * clean + s * noise

    def get_velocity(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        a, s = self.shares(level)
        return a * noise - s * clean

    def set_timesteps(self, steps: int, device: Any) -> None:
        self.jump = self.levels // steps
        self.timesteps = torch.arange(self.levels, 0, -self.jump) - 1

    def step(self, v: Tensor, level: Tensor, x: Tensor) -> SimpleNamespace:
        a, s = self.shares(level)
        clean, noise = a * x - s * v, s * x + a * v
        then = int(level) - self.jump
        bar = self.alphas_cumprod[then] if then >= 0 else torch.ones(())
        return SimpleNamespace(prev_sample=bar.sqrt() * clean + (1 - bar).sqrt() * noise)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a package in place of diffusers."""
    package = SimpleNamespace(UNet2DConditionModel=Net, DDIMScheduler=Scheduler)
    monkeypatch.setitem(sys.modules, "diffusers", package)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package)


def told(count: int, seed: int = 0) -> Condition:
    rng = torch.Generator().manual_seed(seed)
    return Condition(torch.randn(count, 4, 2, 2, generator=rng), torch.rand(count, 1, generator=rng))


def test_it_looks_at_conditions_that_are_kept() -> None:
    torch.manual_seed(0)
    network = Attending(1, (4, 2, 2), 1, width=8)
    noisy, t, keep = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.8]), torch.tensor([True, False])
    first, second = (network(noisy, t, told(2, seed), keep) for seed in (1, 2))
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    one = told(2, 1)
    mirrored = Condition(one.x.flip(3), one.where)
    assert not torch.allclose(network(noisy, t, one), network(noisy, t, mirrored))


class Best(Denoiser):
    """The v of least error for pictures from a normal distribution of this mean and deviation 0.25."""

    def __init__(self, mean: float = 0.3) -> None:
        super().__init__()
        self.mean = mean

    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        scheduler = Scheduler(LEVELS, prediction_type="v_prediction", timestep_spacing="trailing")
        a, s = scheduler.shares((t * (LEVELS - 1)).round().long())
        away = (noisy - self.mean * a) / (a.square() * 0.25**2 + s.square())
        return a * s * away - s * (self.mean + a * 0.25**2 * away)


def test_sampling_gives_the_distribution_of_the_data() -> None:
    decoder = Diffusers(Best(), (1, 1, 1), steps=100)
    samples = decoder.sample(told(1), 4000, torch.Generator().manual_seed(0))
    assert samples.shape == (1, 4000, 1, 1, 1)
    assert abs(float(samples.mean()) - 0.3) < 0.02
    assert abs(float(samples.std()) - 0.25) < 0.02
    again = decoder.sample(told(1), 4000, torch.Generator().manual_seed(0))
    assert torch.equal(samples, again)
    pictures = 0.3 + 0.25 * torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    best, *worse = (
        float(Diffusers(Best(mean), (1, 1, 1)).loss(pictures, told(4000), torch.Generator().manual_seed(2)))
        for mean in (0.3, 0.2, 0.4)
    )
    assert best < min(worse)


def test_it_is_chosen_by_its_name() -> None:
    sizes = {"channels": 1, "tokens": [4, 2, 2], "where": 1, "width": 8}
    pair = built({"kind": "diffusers", **sizes}, [1, 8, 8], 3, 2.0)
    assert isinstance(pair.diffusion, Diffusers)
    assert isinstance(pair.control.network, Attending)
    assert pair.diffusion.sample(told(2), 2, torch.Generator()).shape == (2, 2, 1, 8, 8)
