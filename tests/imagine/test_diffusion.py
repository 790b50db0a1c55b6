"""The maths of decoders: identities, cases that can be solved, and networks that show what they were asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition, Decoder, Denoiser, Diffusion, Regression, guided
from worldjepa.imagine.network import UNet
from worldjepa.imagine.schedule import ddim, mix, noise_of, noisier, picture_of, shares
from worldjepa.imagine.subject import Scenes
from worldjepa.imagine.teaching import Lesson, teach

CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_picture_and_noise_follow_from_v() -> None:
    picture, noise = drawn(5, 2, 3, 4), drawn(5, 2, 3, 4, seed=1)
    t = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    noisy, v = mix(picture, noise, t)
    for row, time in enumerate(t.tolist()):
        a, s = math.cos(math.pi * time / 2), math.sin(math.pi * time / 2)
        torch.testing.assert_close(noisy[row], a * picture[row] + s * noise[row])
        torch.testing.assert_close(v[row], a * noise[row] - s * picture[row])
    torch.testing.assert_close(picture_of(noisy, v, t), picture)
    torch.testing.assert_close(noise_of(noisy, v, t), noise)


def test_the_schedule_ends_with_the_picture_and_with_noise() -> None:
    a, s = shares(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(a.flatten(), torch.tensor([1.0, 0.0]), atol=1e-7, rtol=0)
    torch.testing.assert_close(s.flatten(), torch.tensor([0.0, 1.0]), atol=1e-7, rtol=0)
    a, s = shares(torch.linspace(0, 1, 101))
    torch.testing.assert_close(a.square() + s.square(), torch.ones_like(a))
    assert (a.flatten().diff() < 0).all()


def test_noisier_times_have_so_many_times_as_much_noise() -> None:
    t = torch.linspace(0, 1, 11)
    a, s = shares(t)
    more, most = shares(noisier(t, 3.0))
    torch.testing.assert_close(most * a, 3 * s * more, atol=1e-6, rtol=0)
    torch.testing.assert_close(noisier(t, 1.0), t)
    torch.testing.assert_close(noisier(t, 3.0)[[0, -1]], torch.tensor([0.0, 1.0]))


def test_training_and_sampling_are_at_the_noisier_times() -> None:
    """Both halves of the network's work see the same share of times beyond .9: a quarter and more, not a tenth."""
    network = Plain()
    decoder = Diffusion(network, (1, 1, 1), steps=100, shift=3.0)
    decoder.loss(drawn(1000, 1, 1, 1), some(1000), torch.Generator().manual_seed(0))
    decoder.sample(some(1), 1, torch.Generator().manual_seed(0))
    learned, drew = network.times[0], torch.cat(network.times[1:])
    expected = 1 - math.atan(math.tan(0.9 * math.pi / 2) / 3) / (math.pi / 2)
    assert expected > 0.25
    for times in (learned, drew):
        assert abs(float((times > 0.9).float().mean()) - expected) < 0.011


def best_v(mean: float, std: float) -> object:
    """The v of least error for pictures from a normal distribution, in closed form."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = shares(t)
        variance = a.square() * std**2 + s.square()
        picture = mean + a * std**2 / variance * (x - a * mean)
        noise = s / variance * (x - a * mean)
        return a * noise - s * picture

    return predict


@pytest.mark.parametrize(("steps", "allowed"), [(20, 0.12), (400, 0.01)])
def test_sampling_gives_the_distribution_of_the_data(steps: int, allowed: float) -> None:
    noise = drawn(20_000, 1, 1, 1)
    found = ddim(noise, best_v(0.3, 0.5), steps)  # type: ignore[arg-type]
    # In the limit the way from noise to pictures is known: it keeps ranks.
    expected = 0.3 + 0.5 * noise
    assert abs(float(found.mean() - expected.mean())) < allowed / 2
    assert abs(float(found.std() / expected.std()) - 1) < allowed
    assert float((found - expected).abs().max()) < 4 * allowed


def test_one_step_from_noise_gives_the_mean() -> None:
    found = ddim(drawn(50, 1, 2, 2), best_v(0.3, 0.5), 1)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.full_like(found, 0.3), atol=1e-6, rtol=0)


def test_pictures_stay_within_bounds() -> None:
    found = ddim(drawn(50, 1, 2, 2), best_v(3.0, 0.1), 8, high=torch.ones(1, 1, 1))  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.ones_like(found))


class Plain(Denoiser):
    """Says of what is kept the mean of the condition, of the rest 7; remembers who was kept, and the times."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor | None] = []
        self.times: list[Tensor] = []

    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        self.kept.append(keep)
        self.times.append(t)
        said = condition.x.mean((1, 2, 3))
        said = said if keep is None else torch.where(keep, said, torch.full_like(said, 7.0))
        return said[:, None, None, None].expand_as(noisy)


def some(count: int, seed: int = 0) -> Condition:
    return Condition(drawn(count, 4, 2, 2, seed=seed), torch.rand(count, 4, generator=torch.Generator().manual_seed(3)))


def test_guidance_leads_from_nothing_to_the_condition_and_beyond() -> None:
    condition, noisy, t = some(3), drawn(3, 1, 4, 4), torch.full((3,), 0.5)
    told = condition.x.mean((1, 2, 3))[:, None, None, None].expand_as(noisy)
    for guidance, expected, calls in (
        (1.0, told, 1),
        (0.0, torch.full_like(told, 7.0), 1),
        (2.5, 7 + 2.5 * (told - 7), 2),
    ):
        network = Plain()
        found = guided(network, guidance, noisy, t, condition)
        torch.testing.assert_close(found, expected)
        assert len(network.kept) == calls


def test_a_tenth_is_shown_without_its_condition() -> None:
    network = Plain()
    Diffusion(network, (1, 1, 1)).loss(drawn(8000, 1, 1, 1), some(8000), torch.Generator().manual_seed(0))
    (keep,) = network.kept
    assert keep is not None
    assert abs(1 - float(keep.float().mean()) - 0.1) < 0.015


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"steps": 0}, {"shift": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="dropout must be in"):
        Diffusion(Plain(), (1, 1, 1), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("lattice", "side", "patch"), [((1, 1), 8, 1), ((2, 3), 9, 1), ((2, 2), 8, 2)])
def test_the_network_looks_at_what_it_is_told_and_at_nothing_else(
    lattice: tuple[int, int], side: int, patch: int
) -> None:
    torch.manual_seed(0)
    network = UNet(2, (4, *lattice), 1, width=8, patch=patch)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    noisy, t = drawn(2, 2, side, side), torch.tensor([0.3, 0.8])
    one, other = (Condition(drawn(2, 4, *lattice, seed=seed), torch.zeros(2, 1)) for seed in (1, 2))
    keep = torch.tensor([True, False])
    first, second = network(noisy, t, one, keep), network(noisy, t, other, keep)
    assert first.shape == noisy.shape
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    torch.testing.assert_close(network(noisy, t, one), network(noisy, t, one, torch.tensor([True, True])))
    moved = Condition(one.x, torch.ones(2, 1))
    assert not torch.allclose(network(noisy, t, moved)[0], network(noisy, t, one)[0])


def test_the_network_knows_where() -> None:
    """One token changed moves the picture most where that token stands."""
    torch.manual_seed(0)
    network = UNet(1, (4, 4, 4), 1, width=8, levels=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = drawn(1, 4, 4, 4)
    other = x.clone()
    other[..., 0, 3] += 5
    noisy, t, where = drawn(1, 1, 16, 16), torch.tensor([0.5]), torch.zeros(1, 1)
    moved = (network(noisy, t, Condition(x, where)) - network(noisy, t, Condition(other, where))).abs()[0, 0]
    assert moved[:4, 12:].mean() > 2 * moved[8:, :8].mean()


def test_when_a_single_token_was_imagined_counts_as_one_of_its_numbers() -> None:
    """It is standardised with them, so that its unit does not matter, and it moves the map."""
    torch.manual_seed(0)
    network = UNet(1, (4, 1, 1), 1, width=8, levels=1)
    x, when = drawn(50, 4, 1, 1), drawn(50, 1, seed=1)
    noisy, t = drawn(50, 1, 16, 16, seed=2), torch.full((50,), 0.5)
    torch.nn.init.normal_(network.last[-1].weight)  # type: ignore[arg-type]
    said = []
    for where in (when, 10 * when + 3):
        network.fit(Condition(x, where))
        said.append(network(noisy, t, Condition(x, where)))
    torch.testing.assert_close(said[0], said[1], atol=1e-4, rtol=1e-4)
    _, here = network._told((network._whole(Condition(x, when)) - network.mean) / network.std, t, when, None)
    _, there = network._told((network._whole(Condition(x, -when)) - network.mean) / network.std, t, -when, None)
    assert not torch.allclose(here, there)


class Small(Denoiser):
    """Three linear layers, for pictures of one pixel and conditions of one number."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(4, 64), (64, 64), (64, 1)]
        layers = [layer for size in sizes for layer in (nn.Linear(*size), nn.SiLU())][:-1]
        self.layers = nn.Sequential(*layers)

    def forward(
        self,
        noisy: Float[Tensor, "B C H W"],
        t: Float[Tensor, " B"],
        condition: Condition,
        keep: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        told = condition.x.flatten() if keep is None else condition.x.flatten() * keep
        angle = t * math.pi / 2
        seen = torch.stack([noisy.flatten(), told, angle.cos(), angle.sin()], 1)
        said: Tensor = self.layers(seen)
        return said[..., None, None]


def coins(count: int) -> Scenes:
    """Pictures all white or all black: with probability 3/4 as the representation says."""
    rng = torch.Generator().manual_seed(0)
    said = torch.randint(2, (count, 1, 1, 1), generator=rng) * 2.0 - 1
    right = torch.rand(count, 1, 1, 1, generator=rng) < 0.75
    picture = torch.where(right, said, -said)
    return Scenes(said, said, torch.zeros(count, 1), picture, torch.ones(count, 1, dtype=torch.bool))


def taught(kind: Callable[[Denoiser, tuple[int, int, int]], Decoder], steps: int) -> Decoder:
    torch.manual_seed(0)
    return teach(kind(Small(), (1, 1, 1)), coins(2000), "predicted", Lesson(steps, 256, 1e-2, ema=0.97), 0, CPU)


def test_the_control_draws_the_mean_and_the_decoder_what_could_be() -> None:
    sides = Condition(torch.tensor([-1.0, 1.0])[:, None, None, None], torch.zeros(2, 1))
    control = taught(Regression, 100).sample(sides, 2, torch.Generator())
    assert torch.equal(control[:, 0], control[:, 1])
    torch.testing.assert_close(control.mean((1, 2, 3, 4)), torch.tensor([-0.5, 0.5]), atol=0.12, rtol=0)
    # A single pixel is decided late: for it, the schedule stays even.
    samples = (
        taught(partial(Diffusion, shift=1.0), 400).sample(sides, 400, torch.Generator().manual_seed(0)).mean((2, 3, 4))
    )  # [2, S]
    assert float((samples.abs() > 0.6).float().mean()) > 0.85
    white = (samples > 0).float().mean(1)
    torch.testing.assert_close(white, torch.tensor([0.25, 0.75]), atol=0.12, rtol=0)


def test_samples_are_a_function_of_the_seed() -> None:
    torch.manual_seed(0)
    decoder = Diffusion(UNet(1, (4, 2, 2), 4, width=8, levels=1), (1, 4, 4), steps=3).eval()
    torch.nn.init.normal_(decoder.network.last[-1].weight)  # type: ignore[index, union-attr]
    before = torch.get_rng_state()
    one, same, other = (decoder.sample(some(2), 3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.shape == (2, 3, 1, 4, 4)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def tiles() -> Scenes:
    """A few pictures of 4 x 4."""
    few = coins(20)
    return few._replace(picture=few.picture.expand(-1, -1, 4, 4))


def test_teaching_is_a_function_of_the_seed_and_tells_of_every_step() -> None:
    told: list[int] = []
    torch.manual_seed(0)
    first = Diffusion(UNet(1, (1, 1, 1), 1, width=8, levels=1), (1, 4, 4))
    torch.manual_seed(0)
    second = Diffusion(UNet(1, (1, 1, 1), 1, width=8, levels=1), (1, 4, 4))
    kept = [
        teach(one, tiles(), "target", Lesson(3, 8), 1, CPU, lambda step, loss: told.append(step))
        for one in (first, second)
    ]
    assert told == [1, 2, 3, 1, 2, 3]
    weights = [one.state_dict() for one in kept]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(UserError, match="steps and batch"):
        teach(first, tiles(), "target", Lesson(0), 1, CPU)
