"""Mask samplers: the official one against a loop over samples, ours against what it promises of its distribution."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from worldjepa.cli.compose import compose_config
from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.masks import MultiBlock, MultiBlockOfficial, Quadrants, Random
from worldjepa.train.build import build_sampler
from worldjepa.types import Grid, Masks, random_subset

DRAWS = 1000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the official sampler, one sample and one block at a time --------------------------------------------------------


class Official:
    """The published procedure: sizes once for a batch, positions for each sample, rejected and relaxed as described."""

    def __init__(self, rows: int, cols: int, seed: int = 0) -> None:
        self.rows, self.cols, self.random = rows, cols, random.Random(seed)

    def size(self, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        u = self.random.random()
        tokens = int(self.rows * self.cols * (scale[0] + u * (scale[1] - scale[0])))
        ratio = aspect[0] + u * (aspect[1] - aspect[0])  # the same u
        h, w = round(math.sqrt(tokens * ratio)), round(math.sqrt(tokens / ratio))
        while h >= self.rows:
            h -= 1
        while w >= self.cols:
            w -= 1
        return h, w

    def block(self, size: tuple[int, int]) -> set[int]:
        top = self.random.randrange(self.rows - size[0])  # the upper bound is never drawn
        left = self.random.randrange(self.cols - size[1])
        return {row * self.cols + col for row in range(top, top + size[0]) for col in range(left, left + size[1])}

    def context(self, size: tuple[int, int], targets: list[set[int]], keep: int) -> set[int]:
        excluded, tries = len(targets), 0
        while True:
            left = self.block(size).difference(*targets[:excluded])
            if len(left) > keep:
                return left
            tries += 1
            if tries % 20 == 0 and excluded > 0:
                excluded -= 1

    def batch(self, count: int, keep: int = 10) -> tuple[list[list[int]], list[list[set[int]]], list[set[int]]]:
        """Contexts as they come out, cut; targets; and contexts before the cut."""
        size = self.size((0.15, 0.2), (0.75, 1.5))
        context_size = self.size((0.85, 1.0), (1.0, 1.0))
        targets = [[self.block(size) for _ in range(4)] for _ in range(count)]
        contexts = [self.context(context_size, blocks, keep) for blocks in targets]
        shortest = min(map(len, contexts))
        return [sorted(context)[:shortest] for context in contexts], targets, contexts


class Coverage(NamedTuple):
    """How often each token was context and was in the first target; how long contexts were; which sizes came."""

    context: Tensor
    target: Tensor
    lengths: list[int]
    sizes: set[tuple[int, int]]


def block_size(tokens: Tensor, cols: int) -> tuple[int, int]:
    return len((tokens // cols).unique()), len((tokens % cols).unique())


@cache
def ours(side: int) -> Coverage:
    """One sample a batch: then nothing is cut."""
    sampler, generator = MultiBlockOfficial(), rng(side)
    context, target = torch.zeros(side * side), torch.zeros(side * side)
    lengths, sizes = [], set()
    for _ in range(DRAWS):
        (masks,) = sampler(Grid(1, side, side), 1, generator)
        context[masks.context[0, 0]] += 1
        target[masks.target[0, 0]] += 1
        lengths.append(masks.context.shape[-1])
        sizes.add(block_size(masks.target[0, 0], side))
    return Coverage(context, target, lengths, sizes)


@cache
def theirs(side: int) -> Coverage:
    official = Official(side, side)
    context, target = torch.zeros(side * side), torch.zeros(side * side)
    lengths, sizes = [], set()
    for _ in range(DRAWS):
        _, targets, contexts = official.batch(1)
        context[sorted(contexts[0])] += 1
        target[sorted(targets[0][0])] += 1
        lengths.append(len(contexts[0]))
        sizes.add(block_size(torch.tensor(sorted(targets[0][0])), side))
    return Coverage(context, target, lengths, sizes)


SIZES = {
    14: {(5, 6), (6, 6), (6, 5), (7, 5), (8, 5)},
    16: {(5, 7), (6, 7), (6, 6), (7, 6), (8, 6), (9, 6)},  # 6 x 6 in 1.6 % of all draws
}


@pytest.mark.parametrize("side", SIZES)
def test_official_target_sizes(side: int) -> None:
    assert ours(side).sizes == theirs(side).sizes == SIZES[side]


@pytest.mark.parametrize("side", SIZES)
def test_official_never_uses_the_last_row_and_column(side: int) -> None:
    for map_ in (ours(side).context, ours(side).target):
        counts = map_.view(side, side)
        assert not counts[-1].any()
        assert not counts[:, -1].any()
        assert counts[:-1, :-1].sum() > 0
    assert bool((ours(side).target.view(side, side)[:-1, :-1] > 0).all())


@pytest.mark.parametrize(("side", "mean"), [(14, 81.6), (16, 109.7)])
def test_official_contexts_before_the_cut(side: int, mean: float) -> None:
    for lengths in (ours(side).lengths, theirs(side).lengths):
        assert sum(lengths) / DRAWS == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize(("side", "mean"), [(14, 51.3), (16, 68.6)])
def test_official_contexts_after_the_cut(side: int, mean: float) -> None:
    sampler, generator = MultiBlockOfficial(), rng(side)
    lengths = [sampler(Grid(1, side, side), 128, generator)[0].context.shape[-1] for _ in range(200)]
    assert sum(lengths) / len(lengths) == pytest.approx(mean, rel=0.04)


@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("kind", ["context", "target"])
def test_official_coverage_equals_that_of_the_loop(side: int, kind: str) -> None:
    a, b = getattr(ours(side), kind) / DRAWS, getattr(theirs(side), kind) / DRAWS
    p = (a + b) / 2
    error = (2 * p * (1 - p) / DRAWS).sqrt().clamp_min(1 / DRAWS)
    assert float(((a - b) / error).abs().max()) < 4.5


def test_official_cut_keeps_the_first_tokens() -> None:
    cut, _, whole = Official(14, 14, seed=3).batch(64)
    assert all(sorted(all_)[: len(kept)] == kept for kept, all_ in zip(cut, whole, strict=True))
    (masks,) = MultiBlockOfficial()(Grid(1, 14, 14), 64, rng(3))
    for context, targets in zip(masks.context[:, 0], masks.target, strict=True):
        taken = set(targets.flatten().tolist())
        # The context block is always 13 x 13 in the corner; what is kept is the beginning of what remains of it.
        remains = [row * 14 + col for row in range(13) for col in range(13) if row * 14 + col not in taken]
        assert context.tolist() == remains[: len(context)]


def test_official_relaxes_its_exclusions() -> None:
    # Targets that all but fill the grid leave no context: the last ones are let in again, and nobody waits forever.
    sampler = MultiBlockOfficial(targets=4, target_scale=(0.7, 0.7), target_aspect=(1.0, 1.0), min_keep=100)
    (masks,) = sampler(Grid(1, 14, 14), 8, rng())
    assert masks.context.shape[-1] > 100
    excluded = [
        len(set(c.tolist()) & set(t[-1].tolist())) for c, t in zip(masks.context[:, 0], masks.target, strict=True)
    ]
    assert max(excluded) > 0


# --- sizes -----------------------------------------------------------------------------------------------------------


def correlation(sampler: MaskSampler) -> float:
    """Between scale and aspect of target blocks, on a grid that is fine enough for rounding not to matter."""
    generator, drawn = rng(1), []
    for _ in range(300):
        (masks,) = sampler(Grid(1, 60, 60), 1, generator)
        h, w = block_size(masks.target[0, 0], 60)
        drawn.append([h * w, math.log(h / w)])
    return float(torch.corrcoef(torch.tensor(drawn).T)[0, 1])


def test_scale_and_aspect() -> None:
    assert correlation(MultiBlockOfficial(targets=1)) > 0.95  # but for rounding, 1
    assert abs(correlation(MultiBlock(targets=1))) < 0.18  # three standard errors


def test_aspects_are_as_often_wide_as_tall() -> None:
    sampler = MultiBlock(targets=1, target_aspect=(0.5, 2.0))
    tall = [block_size(sampler(Grid(1, 60, 60), 1, rng(seed))[0].target[0, 0], 60) for seed in range(400)]
    taller = sum(h > w for h, w in tall) / sum(h != w for h, w in tall)
    assert abs(taller - 0.5) < 0.08


# --- the unbiased sampler --------------------------------------------------------------------------------------------


@cache
def coverage(side: int) -> tuple[Tensor, Tensor, int]:
    """How often each token was context, and was in a given target; and of how many samples."""
    sampler, generator = MultiBlock(), rng(2)
    context, target = torch.zeros(side * side), torch.zeros(side * side)
    for _ in range(150):
        (masks,) = sampler(Grid(1, side, side), 64, generator)
        context += masks.context.flatten().bincount(minlength=side * side)
        target += masks.target[:, 0].flatten().bincount(minlength=side * side)
    return context.view(side, side), target.view(side, side), 150 * 64


def test_every_token_is_context_and_is_target() -> None:
    context, target, samples = coverage(14)
    # A corner is in a target of h x w in one of (15 - h)(15 - w) places, about 1 in 81.
    assert float(target.min()) / samples > 0.8 / 81
    # A token in the middle escapes four targets that each cover it in up to four of nine places: about one time in ten.
    assert float(context.min()) / samples > 0.05


@pytest.mark.parametrize("axis", [0, 1])
def test_coverage_is_symmetric(axis: int) -> None:
    for counts in coverage(14)[:2]:
        p, samples = counts / coverage(14)[2], coverage(14)[2]
        error = (2 * p * (1 - p) / samples).sqrt()
        # Four standard errors: positions within a call are independent, but its one size and length are not.
        assert float(((p - p.flip(axis)) / error).abs().max()) < 4.5


def halves(sampler: MaskSampler) -> tuple[float, float]:
    generator, counts = rng(3), torch.zeros(196)
    for _ in range(60):
        (masks,) = sampler(Grid(1, 14, 14), 64, generator)
        counts += masks.context.flatten().bincount(minlength=196)
    return float(counts[:98].sum()), float(counts[98:].sum())


def test_the_cut_is_unbiased() -> None:
    top, bottom = halves(MultiBlock())
    assert top / bottom == pytest.approx(1, abs=0.03)
    top, bottom = halves(MultiBlockOfficial())
    assert top / bottom > 1.5  # of which the missing last row explains little


def test_blocks_are_rectangles_and_span_all_slices() -> None:
    (masks,) = MultiBlock(min_context=4)(Grid(3, 8, 10), 5, rng(4))
    for block in masks.target.flatten(0, 1):
        times, place = block // 80, block % 80
        h, w = block_size(place, 10)
        assert len(block) == 3 * h * w
        assert (times.bincount() == h * w).all()
    for context in masks.context[:, 0]:
        assert len(context) >= 3 * 4 - 8


# --- the masks that I-JEPA's table 6 compares with -------------------------------------------------------------------


def quadrant(rows: int, cols: int, times: int, below: bool, right: bool) -> set[int]:
    """The tokens of a quadrant, counted out one by one."""
    return {
        (time * rows + row) * cols + col
        for time in range(times)
        for row in range(rows)
        for col in range(cols)
        if (row >= rows // 2) == below and (col >= cols // 2) == right
    }


@pytest.mark.parametrize("grid", [Grid(1, 8, 8), Grid(2, 4, 6), Grid(6, 4, 1)])
def test_one_quadrant_is_seen_and_the_others_are_asked(grid: Grid) -> None:
    rows, cols, times = (grid.t, grid.h, 1) if grid.w == 1 else (grid.h, grid.w, grid.t)
    four = [quadrant(rows, cols, times, below, right) for below in (False, True) for right in (False, True)]
    (masks,) = Quadrants()(grid, 400, rng(6))
    seen = torch.zeros(4)
    for context, targets in zip(masks.context, masks.target, strict=True):
        drawn = [set(tokens.tolist()) for tokens in (*context, *targets)]
        assert sorted(map(sorted, drawn)) == sorted(map(sorted, four))
        seen[four.index(drawn[0])] += 1
    assert float(((seen - 100) ** 2 / 100).sum()) < chi2.ppf(0.999, 3)


def test_quadrants_of_odd_sides_are_cut_to_the_smallest() -> None:
    (masks,) = Quadrants()(Grid(1, 5, 7), 300, rng(7))
    assert masks.context.shape == (300, 1, 2 * 3)
    assert masks.target.shape == (300, 3, 2 * 3)
    four = [quadrant(5, 7, 1, below, right) for below in (False, True) for right in (False, True)]
    for context, targets in zip(masks.context, masks.target, strict=True):
        where = [next(i for i, one in enumerate(four) if set(drawn.tolist()) <= one) for drawn in (*context, *targets)]
        assert sorted(where) == [0, 1, 2, 3]
    for sets in masks:  # whatever is cut, every token is sometimes there
        assert len(sets.unique()) == 35


def test_the_block_option_asks_one_large_block() -> None:
    sampler = build_sampler(compose_config("train", ["masks=block"]).config)
    for seed in range(20):
        (masks,) = sampler(Grid(1, 14, 14), 8, rng(seed))
        assert masks.target.shape[:2] == (8, 1)
        assert masks.target.shape[-1] == pytest.approx(0.6 * 196, abs=8)
        for context, target in zip(masks.context[:, 0], masks.target[:, 0], strict=True):
            h, w = block_size(target, 14)
            assert len(target) == h * w
            assert not set(context.tolist()) & set(target.tolist())
            # All around it is seen, but for rounding to a multiple of eight.
            assert 0 <= 196 - len(target) - len(context) < 8


# --- settings that cannot be met -------------------------------------------------------------------------------------

IMPOSSIBLE = [
    (MultiBlock(), Grid(1, 2, 2), ["2 x 2", "min_context=16"]),
    (MultiBlock(), Grid(1, 4, 4), ["4 x 4", "min_context=16", "0% of draws"]),
    (MultiBlock(targets=60), Grid(1, 8, 8), ["8 x 8", "60 targets", "0% of draws"]),
    (MultiBlockOfficial(), Grid(1, 2, 2), ["2 x 2", "min_keep=10"]),
    (MultiBlockOfficial(), Grid(1, 4, 4), ["4 x 4", "min_keep=10"]),
    (MultiBlockOfficial(), Grid(1, 8, 8), ["8 x 8", "target block", "min_keep=10"]),
    (MultiBlockOfficial(), Grid(1, 1, 64), ["1 x 64"]),
    (MultiBlockOfficial(), Grid(2, 14, 14), ["for images"]),
    (Quadrants(), Grid(1, 1, 64), ["1 x 64", "quadrants"]),
    (Random(0.1), Grid(1, 2, 2), ["0.1", "4 tokens", "hides 0"]),
    (Random(0.9), Grid(1, 2, 2), ["hides 4", "to see"]),
]


@pytest.mark.parametrize(("sampler", "grid", "words"), IMPOSSIBLE)
def test_impossible_settings_are_explained_at_once(sampler: MaskSampler, grid: Grid, words: list[str]) -> None:
    for seed in range(5):  # whatever is drawn
        start = time.perf_counter()
        with pytest.raises(UserError) as caught:
            sampler(grid, 128, rng(seed))
        assert time.perf_counter() - start < 1
        assert all(word in str(caught.value) for word in words), str(caught.value)


def bad_arguments() -> Iterator[tuple[type, dict[str, object], str]]:
    for kind in (MultiBlock, MultiBlockOfficial):
        yield kind, {"targets": 0}, "targets"
        yield kind, {"target_scale": (0.3, 0.2)}, "target_scale"
        yield kind, {"target_scale": (0.0, 0.2)}, "target_scale"
        yield kind, {"context_scale": (0.5, 1.1)}, "context_scale"
        yield kind, {"target_aspect": (-1.0, 1.0)}, "target_aspect"
    yield MultiBlock, {"min_context": 0}, "min_context"
    yield MultiBlockOfficial, {"min_keep": -1}, "min_keep"
    yield Random, {"ratio": 1.0}, "ratio"


@pytest.mark.parametrize(("kind", "arguments", "word"), list(bad_arguments()))
def test_arguments_out_of_range(kind: type, arguments: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        kind(**arguments)


# --- rectangular sets from ragged ones -------------------------------------------------------------------------------


def test_an_empty_set_is_an_error() -> None:
    full = torch.ones(2, 2, 6, dtype=torch.bool)
    hole = full.clone()
    hole[1, 0] = False
    with pytest.raises(ValueError, match=r"context set 0 of sample 1 is empty.* 6 tokens"):
        Masks.from_bool(hole, full, rng())
    with pytest.raises(ValueError, match="target set 0 of sample 1 is empty"):
        Masks.from_bool(full, hole, rng())


@pytest.mark.parametrize(("size", "kept"), [(1, 1), (13, 13), (63, 63), (64, 64), (71, 64), (72, 72), (100, 96)])
def test_contexts_are_rounded_from_64_on(size: int, kept: int) -> None:
    sets = torch.zeros(2, 1, 128, dtype=torch.bool)
    sets[:, :, :size] = True
    sets[1, :, size : size + 5] = True
    masks = Masks.from_bool(sets, sets, rng())
    assert masks.context.shape[-1] == kept
    assert masks.target.shape[-1] == size
    assert bool((masks.target[0, 0] == torch.arange(size)).all())


@pytest.mark.parametrize("n", [20, 20_000])  # up to 2 ** 14 tokens share a machine word with their neighbour
def test_random_subsets_are_uniform(n: int) -> None:
    trials, where = 3000, torch.arange(n)[:: n // 20][:5]
    members = torch.zeros(1 if n > 100 else trials, 1, n, dtype=torch.bool)
    members[..., where] = True
    short = torch.zeros(1, 1, n, dtype=torch.bool)
    short[..., where[:2]] = True
    if n > 100:
        generator, both = rng(), torch.cat([members, short])
        drawn = torch.stack([random_subset(both, generator)[0, 0] for _ in range(300)])
    else:
        drawn = random_subset(torch.cat([members, short]), rng())[:-1, 0]  # pairs out of five
    assert bool((drawn[:, 0] < drawn[:, 1]).all())
    place = {int(token): number for number, token in enumerate(where)}
    pairs = torch.tensor([place[int(a)] * 5 + place[int(b)] for a, b in drawn]).bincount(minlength=25)
    counts = pairs.view(5, 5)[tuple(torch.triu_indices(5, 5, 1))].double()
    expected = len(drawn) / 10
    assert counts.sum() == len(drawn)
    assert float(((counts - expected) ** 2 / expected).sum()) < chi2.ppf(0.999, 9)


def test_neighbouring_sets_are_independent() -> None:
    members = torch.ones(4001, 2, 4, dtype=torch.bool)
    members[-1, :, 1:] = False
    drawn = random_subset(members, rng(7))[:-1, :, 0]  # one of four, twice
    counts = (drawn[:, 0] * 4 + drawn[:, 1]).bincount(minlength=16).double()
    assert float(((counts - 250) ** 2 / 250).sum()) < chi2.ppf(0.999, 15)


@pytest.mark.parametrize("ratio", [0.25, 0.6])
def test_random_masks_are_a_uniform_partition(ratio: float) -> None:
    trials, n, hidden = 4000, 20, round(20 * ratio)
    (masks,) = Random(ratio)(Grid(1, 4, 5), trials, rng(5))
    assert masks.target.shape == (trials, 1, hidden)
    both = torch.cat([masks.context, masks.target], -1).sort(-1).values
    assert bool((both == torch.arange(n)).all())
    assert bool((masks.context.diff() > 0).all())
    counts = masks.target.flatten().bincount(minlength=n).double()
    expected = trials * hidden / n
    statistic = ((counts - expected) ** 2 / expected).sum() / (1 - hidden / n) * (n - 1) / n
    assert float(statistic) < chi2.ppf(0.999, n - 1)
