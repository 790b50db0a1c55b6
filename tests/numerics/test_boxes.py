"""Unions of boxes against V-JEPA's sampler, restated literally, and against what is promised of ours."""

from __future__ import annotations

import math

import pytest
import torch

from worldjepa.boxes import Box as Extent
from worldjepa.boxes import BoxUnion, Several, first, union
from worldjepa.errors import UserError
from worldjepa.masks import MultiBlock, Plane, Random
from worldjepa.types import Grid

SHORT, LONG = {"boxes": 8, "scale": (0.15, 0.15)}, {"boxes": 2, "scale": (0.7, 0.7)}
VJEPA = Grid(8, 14, 14)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vjepa_size(grid: Grid, scale: tuple[float, float], aspect: tuple[float, float], u: tuple[float, ...]) -> Extent:
    """How V-JEPA sizes a box: three draws, areas and durations rounded down, sides to the nearest."""
    t = max(1, int(grid.t * 1.0))
    area = int(grid.h * grid.w * (scale[0] + u[1] * (scale[1] - scale[0])))
    ratio = aspect[0] + u[2] * (aspect[1] - aspect[0])
    h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return Extent(t, min(h, grid.h), min(w, grid.w))


@pytest.mark.parametrize("settings", [SHORT, LONG])
@pytest.mark.parametrize("grid", [VJEPA, Grid(8, 16, 16), Grid(4, 6, 6), Grid(8, 24, 24)])
def test_official_sizes(grid: Grid, settings: dict) -> None:
    sampler = BoxUnion(**settings, official=True)
    for seed in range(50):
        u = tuple(torch.rand(3, generator=rng(seed)).tolist())
        assert sampler.size(Plane.of(grid), *u) == vjepa_size(grid, settings["scale"], (0.75, 1.5), u)


def members(sets: torch.Tensor, n: int) -> torch.Tensor:
    return torch.zeros(len(sets), n, dtype=torch.bool).scatter_(1, sets[:, 0], True)


def test_official_sets_are_the_first_members() -> None:
    (masks,) = BoxUnion(**SHORT, official=True)(VJEPA, 16, rng())
    plane = Plane.of(VJEPA)
    again = rng()
    box = BoxUnion(**SHORT, official=True).size(plane, *torch.rand(3, generator=again).tolist())
    taken = torch.from_numpy(union(plane, box, 8, 16, again))
    for sets, whole in ((masks.context, ~taken), (masks.target, taken)):
        shortest = int(whole.sum(1).min())
        for row in range(16):
            assert sets[row, 0].tolist() == whole[row].nonzero()[:shortest, 0].tolist()


@pytest.mark.parametrize("grid", [VJEPA, Grid(3, 5, 7), Grid(1, 8, 8), Grid(10, 6, 1)])
@pytest.mark.parametrize("duration", [(1.0, 1.0), (0.3, 0.6)])
def test_a_union_is_the_boxes_put_together(grid: Grid, duration: tuple[float, float]) -> None:
    plane = Plane.of(grid)
    box = BoxUnion(boxes=3, scale=(0.2, 0.2), duration=duration).size(plane, 0.5, 0.5, 0.5)
    u = torch.rand(3, 5, 3, generator=rng(4)).numpy()
    taken = union(plane, box, 3, 5, rng(4)).reshape(5, plane.depth, plane.rows, plane.cols)
    for row in range(5):
        expected = torch.zeros(plane.depth, plane.rows, plane.cols, dtype=torch.bool)
        for one in range(3):
            t = int(u[0, row, one] * (plane.depth - box.depth + 1))
            y = int(u[1, row, one] * (plane.rows - box.h + 1))
            x = int(u[2, row, one] * (plane.cols - box.w + 1))
            expected[t : t + box.depth, y : y + box.h, x : x + box.w] = True
        assert torch.equal(torch.from_numpy(taken[row]), expected)


def test_what_is_not_asked_is_seen_but_for_the_cut() -> None:
    (masks,) = BoxUnion(**LONG)(VJEPA, 1, rng())  # alone, a sample is cut to a multiple of 8 at most
    seen, asked = members(masks.context, VJEPA.size), members(masks.target, VJEPA.size)
    assert not (seen & asked).any()
    assert int((~(seen | asked)).sum()) < 8


def test_how_much_is_hidden() -> None:
    hidden = []
    for settings in (SHORT, LONG):
        shares = []
        for seed in range(200):
            generator = rng(seed)
            box = BoxUnion(**settings).size(Plane.of(VJEPA), *torch.rand(3, generator=generator).tolist())
            shares.append(union(Plane.of(VJEPA), box, settings["boxes"], 1, generator).mean())
        hidden.append(sum(shares) / len(shares))
    assert hidden[0] == pytest.approx(0.62, abs=0.03)  # V-JEPA's numbers on its own grid
    assert hidden[1] == pytest.approx(0.81, abs=0.03)


def test_every_token_is_both_seen_and_asked() -> None:
    seen, asked = torch.zeros(VJEPA.size), torch.zeros(VJEPA.size)
    for seed in range(40):
        for masks in Several([BoxUnion(**SHORT), BoxUnion(**LONG)])(VJEPA, 16, rng(seed)):
            seen += members(masks.context, VJEPA.size).sum(0)
            asked += members(masks.target, VJEPA.size).sum(0)
    assert seen.min() > 0
    assert asked.min() > 0
    by_time = seen.view(8, -1).sum(1)
    assert by_time.max() / by_time.min() < 1.1  # the official sampler loses the end of the clip
    official = torch.zeros(VJEPA.size)
    for seed in range(40):
        (masks,) = BoxUnion(**SHORT, official=True)(VJEPA, 16, rng(seed))
        official += members(masks.context, VJEPA.size).sum(0)
    assert official.view(8, -1).sum(1)[-1] < 0.8 * official.view(8, -1).sum(1)[0]


def test_several_ask_one_after_another() -> None:
    drawn = Several([Random(0.5), MultiBlock(min_context=4), BoxUnion()])(Grid(2, 8, 8), 3, rng())
    assert [masks.target.shape[1] for masks in drawn] == [1, 4, 1]
    generator = rng()
    alone = [masks for part in (Random(0.5), MultiBlock(min_context=4)) for masks in part(Grid(2, 8, 8), 3, generator)]
    assert all(torch.equal(a.target, b.target) for a, b in zip(drawn, alone, strict=False))
    with pytest.raises(UserError, match="parts is empty"):
        Several([])


def test_numbers_that_cannot_be_met_are_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"grid of 4 x 2 x 2 .*2 boxes of 4 x 2 x 2 .*scale=\[0.9, 1.0\]"):
        BoxUnion(boxes=2, scale=(0.9, 1.0))(Grid(4, 2, 2), 2, rng())
    # Also where the draw at hand would have been met: whole planes are only the largest of these boxes.
    for seed in range(5):
        with pytest.raises(UserError, match="masks do not fit"):
            BoxUnion(boxes=1, scale=(0.1, 1.0))(Grid(4, 4, 4), 2, rng(seed))
    for wrong in (
        {"boxes": 0},
        {"scale": (0.5, 0.2)},
        {"duration": (0.0, 1.0)},
        {"aspect": (1.0,)},
        {"min_context": 0},
    ):
        with pytest.raises(UserError, match=next(iter(wrong))):
            BoxUnion(**wrong)


def test_too_little_to_see_is_drawn_again() -> None:
    (masks,) = BoxUnion(boxes=2, scale=(0.7, 0.7), min_context=24)(Grid(4, 6, 6), 64, rng())
    assert masks.context.shape[-1] >= 24


def test_first_keeps_order() -> None:
    sets = torch.tensor([[[True, False, True, True]], [[False, True, False, True]]])
    assert first(sets).tolist() == [[[0, 2]], [[1, 3]]]
