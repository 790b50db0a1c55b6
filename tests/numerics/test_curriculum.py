"""Masks that take rows and columns along, curricula, and targets that see only what is asked: against literal restatements."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.masks import CrossBlock, Curriculum, MultiBlock, Random
from worldjepa.objectives import MSE, Cosine
from worldjepa.targets import EMA
from worldjepa.train.stream import generator
from worldjepa.types import Grid, Masks, Tokens

SOUND = Grid(32, 8, 1)


def sets(masks: Masks, grid: Grid) -> list[tuple[set[tuple[int, int]], list[set[tuple[int, int]]]]]:
    """Context and targets of each sample as (row, column) pairs."""

    def place(index: int) -> tuple[int, int]:
        return divmod(index, grid.h if grid.w == 1 else grid.w)

    return [
        ({place(i) for i in context[0].tolist()}, [{place(i) for i in target.tolist()} for target in targets])
        for context, targets in zip(masks.context, masks.target, strict=True)
    ]


@pytest.mark.parametrize("grid", [SOUND, Grid(1, 14, 14)])
def test_a_block_takes_its_rows_or_columns_along(grid: Grid) -> None:
    whole_rows = whole_columns = 0
    for seed in range(40):
        (masks,) = CrossBlock(min_context=4)(grid, 8, generator(seed))
        for context, targets in sets(masks, grid):
            rows, columns = {row for row, _ in context}, {column for _, column in context}
            for block in targets:
                its_rows, its_columns = {row for row, _ in block}, {column for _, column in block}
                assert len(block) == len(its_rows) * len(its_columns)  # a rectangle
                without_rows, without_columns = not rows & its_rows, not columns & its_columns
                assert without_rows or without_columns
                whole_rows += without_rows
                whole_columns += without_columns
    total = 40 * 8 * 3
    # Two thirds each if blocks were alone; other blocks and the cut to a common length add to it.
    assert 0.6 < whole_rows / total <= 1
    assert 0.6 < whole_columns / total <= 1


def test_cross_blocks_keep_enough_to_see_or_say_why_not() -> None:
    (masks,) = CrossBlock(min_context=20)(SOUND, 64, generator(0))
    assert masks.context.shape[-1] >= 20
    assert masks.target.shape[:2] == (64, 3)
    with pytest.raises(UserError, match=r"masks do not fit on a grid of 8 x 8 tokens: 3 targets .*min_context=40"):
        CrossBlock(min_context=40)(Grid(8, 8, 1), 2, generator(0))


class Fixed(MaskSampler):
    """Always the same token, and notes how far the run was."""

    def __init__(self, token: int, progress: float = -1.0) -> None:
        self.token, self.progress = token, progress

    def at(self, progress: float) -> Fixed:
        return Fixed(self.token, progress)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        chosen = torch.full((batch, 1, 1), self.token)
        return [Masks(chosen, chosen + 1)]


@pytest.mark.parametrize("progress", [0.0, 0.04, 0.25, 0.81, 0.999])
def test_the_second_sampler_takes_over_by_the_square_root(progress: float) -> None:
    curriculum = Curriculum(Fixed(0), Fixed(5), start=0.01).at(progress)
    expected = min(1.0, math.sqrt(progress * (1 - 0.01**2) + 0.01**2))
    assert curriculum.probability == pytest.approx(expected)
    draws = [int(curriculum(SOUND, 2, generator(seed))[0].context[0, 0, 0]) for seed in range(600)]
    share = draws.count(5) / len(draws)
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / len(draws)) + 1e-3
    assert isinstance(curriculum.second, Fixed)
    assert curriculum.second.progress == progress  # curricula may hold curricula


def test_samplers_without_a_clock_are_the_same_at_any_time() -> None:
    sampler = MultiBlock()
    assert sampler.at(0.5) is sampler
    early = Curriculum(MultiBlock(min_context=4), CrossBlock(min_context=4))
    assert early.progress == 0.0
    early.at(0.9)
    assert early.progress == 0.0  # nothing is remembered


def test_a_curriculum_fails_at_its_first_step_or_never() -> None:
    with pytest.raises(UserError, match="masks do not fit"):
        Curriculum(MultiBlock(min_context=4), CrossBlock(min_context=60), start=0.0)(Grid(8, 8, 1), 2, generator(0))
    with pytest.raises(UserError, match=r"masks.start must lie between 0 and 1, not 2"):
        Curriculum(MultiBlock(), CrossBlock(), start=2)


def test_a_random_share_between_two_numbers() -> None:
    sampler = Random([0.4, 0.6])
    shares = {sampler(Grid(32, 6, 1), 3, generator(seed))[0].target.shape[-1] / 192 for seed in range(200)}
    assert min(shares) >= 0.395
    assert max(shares) <= 0.605
    assert max(shares) - min(shares) > 0.18
    for wrong in ([0.6, 0.4], [0.0, 0.5], [0.5, 1.0], 1.0):
        with pytest.raises(UserError, match=r"masks.ratio must"):
            Random(wrong)


# --- objectives and targets ------------------------------------------------------------------------------------------


def random_tokens(*shape: int, seed: int = 0) -> Tokens:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return Tokens(x, torch.zeros(*shape[:-1], 3))


def test_cosine_and_squared_distance_literally() -> None:
    pred, answer = random_tokens(2, 3, 4, 5), random_tokens(2, 3, 4, 5, seed=1)
    cosines = []
    for p, a in zip(pred.x.reshape(-1, 5), answer.x.reshape(-1, 5), strict=True):
        cosines.append(2 - 2 * float(p @ a / (p.norm() * a.norm())))
    context = random_tokens(2, 1, 3, 5)
    found = Cosine(weight=0.5)(pred, answer, context)
    assert float(found["cosine"]) == pytest.approx(0.5 * sum(cosines) / len(cosines), rel=1e-5)
    squared = MSE(weight=2.0)(pred, answer, context)
    assert float(squared["mse"]) == pytest.approx(2 * float(((pred.x - answer.x) ** 2).mean()), rel=1e-5)


def test_m2d_standardises_what_the_layer_norm_does() -> None:
    # Standardised over its features with the unbiased variance, then of length one: what a layer norm leaves is the same.
    x = random_tokens(2, 3, 4, 8).x
    standard = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
    normed = F.layer_norm(x, (8,))
    torch.testing.assert_close(F.normalize(standard, dim=-1), F.normalize(normed, dim=-1), rtol=1e-4, atol=1e-5)


def test_a_target_that_sees_only_what_is_asked() -> None:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 16, channels=1), dim=16, depth=2, heads=2)
    target = EMA(encoder, steps=10, sees="asked")
    obs = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    masks = Random(0.7)(Grid(1, 4, 4), 3, generator(0))
    (answer,) = target(obs, masks)
    expected = F.layer_norm(encoder(obs, masks[0].target).x, (16,))
    torch.testing.assert_close(answer.x, expected)
    seen = torch.zeros(3, 16, dtype=torch.bool).scatter_(1, masks[0].context[:, 0], True)
    pixels = seen.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    (other,) = target(torch.where(pixels, torch.zeros(()), obs), masks)
    torch.testing.assert_close(other.x, answer.x)  # the context has no influence
    (whole,) = EMA(encoder, steps=10)(obs, masks)
    assert float((whole.x - answer.x).abs().max()) > 1e-3
    with pytest.raises(UserError, match=r"target.sees 'ask' is not known \(did you mean 'asked'\?\)"):
        EMA(encoder, steps=10, sees="ask")  # type: ignore[arg-type]
