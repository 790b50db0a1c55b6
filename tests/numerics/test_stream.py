"""The order of the data: a function of (seed, position), whoever does the work and wherever the run began."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from modalities.image.observations import ArrayObservations
from worldjepa.train.feed import Feed
from worldjepa.train.stream import Batches, Order, Ticket, generator

SAMPLES = 23


def tickets(order: Order, epoch: int) -> list[Ticket]:
    return [order[epoch * SAMPLES + place] for place in range(SAMPLES)]


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    order = Order(SAMPLES, seed=0)
    epochs = [tickets(order, epoch) for epoch in range(5)]
    for number, epoch in enumerate(epochs):
        assert {ticket.epoch for ticket in epoch} == {number}
        assert sorted(ticket.sample for ticket in epoch) == list(range(SAMPLES))
    orders = {tuple(ticket.sample for ticket in epoch) for epoch in epochs}
    assert len(orders) == 5
    assert tuple(range(SAMPLES)) not in orders
    other = tickets(Order(SAMPLES, seed=1), 0)
    assert other != epochs[0]


def test_the_order_can_be_asked_anywhere() -> None:
    straight = [Order(SAMPLES, 0)[position] for position in range(100)]
    jumping, places = Order(SAMPLES, 0), random.Random(0).sample(range(100), 100)
    assert {place: jumping[place] for place in places} == dict(enumerate(straight))


def flat(batches: Batches) -> list[list[Ticket]]:
    return list(batches)


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_processes_and_accumulation_divide_the_same_global_batch(processes: int, accumulate: int) -> None:
    steps = range(3, 9)
    whole = flat(Batches(Order(SAMPLES, 0), steps, batch_size=4 * processes * accumulate, accumulate=1))
    ranks = [flat(Batches(Order(SAMPLES, 0), steps, 4, accumulate, rank, processes)) for rank in range(processes)]
    for number, batch in enumerate(whole):
        parts = slice(number * accumulate, (number + 1) * accumulate)
        rows = [
            ticket for step in zip(*(rank[parts] for rank in ranks), strict=True) for part in step for ticket in part
        ]
        assert rows == batch
    assert all(len(part) == 4 for rank in ranks for part in rank)


def test_one_rank_that_accumulates_sees_what_two_ranks_see() -> None:
    steps = range(10)
    one = Batches(Order(SAMPLES, 0), steps, 4, accumulate=2)
    two = [Batches(Order(SAMPLES, 0), steps, 4, 1, rank, 2) for rank in (0, 1)]
    assert flat(one) == [batch for pair in zip(*map(flat, two), strict=True) for batch in pair]
    assert one.rows(1) == two[1].rows(0) == range(4, 8)


@pytest.mark.parametrize("start", [0, 1, 5, 6, 19])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(start: int) -> None:
    def from_(step: int) -> Batches:
        return Batches(Order(SAMPLES, 0), range(step, 20), batch_size=3, accumulate=2)

    assert flat(from_(start)) == flat(from_(0))[2 * start :]
    assert len(from_(start)) == 2 * (20 - start)


def test_consecutive_batches_use_every_sample_once_an_epoch() -> None:
    batches = flat(Batches(Order(SAMPLES, 0), range(SAMPLES), batch_size=3, accumulate=1))
    drawn = [ticket for batch in batches for ticket in batch]
    assert len(set(drawn)) == len(drawn) == 3 * SAMPLES
    assert [sum(ticket.epoch == epoch for ticket in drawn) for epoch in range(3)] == [SAMPLES] * 3


def test_generators_do_not_collide() -> None:
    keys: list[tuple[int | str, ...]] = [
        (seed, "augment", e, s) for seed in (0, 1) for e in range(20) for s in range(50)
    ]
    keys += [(seed, name, step) for seed in (0, 1) for name in ("order", "masks") for step in range(200)]
    keys += [(1, 11), (11, 1), (111,), (0, "workers"), (1, "1"), ("", 1)]
    seeds = {generator(*key).initial_seed() for key in keys if key != (1, "1")}
    assert len(seeds) == len(keys) - 1
    draws = torch.stack([torch.rand(4, generator=generator(*key)) for key in keys if key != (1, "1")])
    assert len(draws.unique(dim=0)) == len(keys) - 1
    assert abs(float(draws[:, 0].mean()) - 0.5) < 0.03  # first draws of neighbouring keys are unrelated
    assert abs(float(torch.corrcoef(torch.stack([draws[:-1, 0], draws[1:, 0]]))[0, 1])) < 0.08


def test_generators_are_always_the_same() -> None:
    # Resuming a run with another release must not change its data: the hash is part of the format of a run.
    assert generator(0, "order", 0).initial_seed() == generator(0, "order", 0).initial_seed()
    assert torch.equal(torch.rand(3, generator=generator(5, "a")), torch.rand(3, generator=generator(5, "a")))
    before = torch.random.get_rng_state()
    generator(0)
    assert torch.equal(before, torch.random.get_rng_state())


def loaded(observations: ArrayObservations, batches: Batches, seed: int, workers: int = 0) -> list[torch.Tensor]:
    """Every batch, by way of the training feed."""
    with Feed(observations, batches, seed, workers, timeout=60.0) as feed:
        found = [feed.next() for _ in range(len(batches))]
    assert all(one is not None and one.bad == [] for one in found)
    return [one.obs for one in found if one is not None and one.obs is not None]


def test_workers_change_nothing() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(SAMPLES, 1, 16, 16), dtype=np.uint8)
    observations = ArrayObservations(pixels, crop_scale=(0.3, 1.0))
    before = torch.random.get_rng_state()
    batches = Batches(Order(SAMPLES, 0), range(4, 9), batch_size=5, accumulate=1)
    runs = [loaded(observations, batches, seed=0, workers=workers) for workers in (0, 2)]
    assert torch.equal(before, torch.random.get_rng_state()), "loading moved the global generator"
    assert [batch.shape for batch in runs[0]] == [(5, 1, 16, 16)] * 5
    assert all(map(torch.equal, *runs))
    other = loaded(observations, batches, seed=1)
    assert not torch.equal(other[0], runs[0][0]), "the seed decides the augmentation"


def test_a_sample_is_augmented_anew_every_epoch() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(1, 1, 16, 16), dtype=np.uint8)
    batches = Batches(Order(1, 0), range(4), 1, 1)
    views = loaded(ArrayObservations(pixels, crop_scale=(0.3, 1.0)), batches, seed=0)
    assert len({view.numpy().tobytes() for view in views}) == 4
