"""Pictures of masks show what was drawn; coverage is a count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modalities.image.depiction import Images
from visual.known import Known
from worldjepa.kept import KeptBlocks
from worldjepa.masks import MultiBlock, MultiBlockOfficial, Random
from worldjepa.types import Grid
from worldjepa.visual.colours import GREY, of_set
from worldjepa.visual.masks import coverage, inner, masks_picture, painted

OBS = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", [MultiBlock(min_context=4), KeptBlocks(), Random(0.5)])
def test_coverage_is_the_share_of_samples_that_hold_a_place(sampler) -> None:  # type: ignore[no-untyped-def]
    grid = Grid(1, 8, 12)
    found = coverage(sampler, grid, 10, 4, torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(3)
    seen, asked = np.zeros(grid.size), np.zeros(grid.size)
    for _ in range(3):  # whole batches: twelve samples
        drawn = sampler(grid, 4, rng)
        for row in range(4):
            for total, which in ((seen, 0), (asked, 1)):
                held = {int(place) for masks in drawn for place in masks[which][row].flatten()}
                total[sorted(held)] += 1
    assert np.allclose(found.context, seen / 12)
    assert np.allclose(found.target, asked / 12)


def test_what_the_official_sampler_never_asks_is_told() -> None:
    shown = masks_picture(MultiBlockOfficial(), Known(4), torch.zeros(1, 3, 56, 56), Images(), draws=1, samples=64)
    never = np.array(shown.numbers["coverage"]["target"]).reshape(14, 14) == 0
    assert never[-1].all()
    assert never[:, -1].all()
    assert shown.numbers["target_share"]["never"] == never.sum()
    assert f"{never.sum()} of 196 never are" in shown.caption


def test_places_are_as_they_are_tinted_or_faded() -> None:
    frames = np.full((1, 40, 40, 3), 100, np.uint8)
    seen = np.array([[[True, False], [False, False]]])
    sets = np.array([[[[False, True], [False, False]]], [[[False, False], [True, False]]]])
    (after,) = painted(frames, seen, sets)
    assert (after[5, 5] == 100).all()
    assert (after[30, 30] == np.round(100 * 0.2 + 0.8 * np.array(GREY))).all()
    for number, place in enumerate([(5, 30), (30, 5)]):
        assert (after[place] == np.round(100 * 0.4 + 0.6 * of_set(number))).all()
    assert (after[0, 25] == of_set(0)).all()  # its edge


def test_the_inner_part_of_an_area() -> None:
    area = np.zeros((1, 7, 8), bool)
    area[0, 1:6, :5] = True
    expected = np.zeros_like(area)
    expected[0, 2:5, 1:4] = True  # the edge of the picture is an edge too
    assert (inner(area, 1) == expected).all()


def test_the_same_seed_gives_the_same_picture() -> None:
    def made(seed: int) -> bytes:
        return masks_picture(MultiBlock(min_context=4), Known(4), OBS, Images(), seed, samples=8).image.tobytes()

    assert made(1) == made(1)
    assert made(1) != made(2)
