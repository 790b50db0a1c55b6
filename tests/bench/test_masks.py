"""The mask benchmark compares like with like, and the samplers are far faster than the loop."""

from __future__ import annotations

import torch

from benchmarks.coverage import SAMPLERS, coverage
from benchmarks.masks import loop
from benchmarks.timing import interleaved
from worldjepa.masks import MultiBlockOfficial
from worldjepa.types import Grid


def test_the_loop_draws_what_the_sampler_draws() -> None:
    rng = torch.Generator().manual_seed(0)
    lengths = {"loop": [], "sampler": []}
    for _ in range(40):
        contexts, targets = loop(16, 32, rng)
        assert targets.shape[:2] == (32, 4)
        lengths["loop"].append(contexts.shape[1])
        (masks,) = MultiBlockOfficial()(Grid(1, 16, 16), 32, rng)
        lengths["sampler"].append(masks.context.shape[-1])
    mean = {name: sum(values) / len(values) for name, values in lengths.items()}
    assert abs(mean["loop"] - mean["sampler"]) < 8


def test_times_are_taken_in_turns() -> None:
    order: list[str] = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3, warm_up=1)
    assert order == list("abababab")
    assert set(times) == {"a", "b"}


def test_coverage_is_a_share_of_samples() -> None:
    for name, sampler in SAMPLERS.items():
        seen, asked = coverage(sampler, side=14, batch=64, batches=10)
        assert seen.shape == asked.shape == (14, 14)
        assert 0 <= seen.min() <= seen.max() <= 1
        if name == "multiblock_official":
            assert seen[-1].max() == seen[:, -1].max() == asked[-1].max() == asked[:, -1].max() == 0
        else:
            assert asked.min() > 0
            assert seen.min() > 0
