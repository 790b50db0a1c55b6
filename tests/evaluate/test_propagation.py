"""Labels carried along a video, and J and F on masks small enough to count by hand."""

from __future__ import annotations

import pytest
import torch

from worldjepa.errors import UserError
from worldjepa.evaluate.propagation import (
    Propagation,
    averages,
    boundary,
    boundary_f,
    follow,
    grown,
    nearby,
    propagate,
    region_j,
)

SIDE, FRAMES = 8, 5


def square(time: int, row: int = 2, width: int = 3) -> torch.Tensor:
    """A square that moves a patch to the right at every time."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[row : row + width, time : time + width] = True
    return mask


def video(size: int = SIDE) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of a square on a still ground, each patch with a vector of its own that moves along, and the truth."""
    ground = torch.randn(SIDE, SIDE, 64, generator=torch.Generator().manual_seed(0))
    skin = torch.randn(3, 3, 64, generator=torch.Generator().manual_seed(1))
    frames, masks = [], []
    for time in range(FRAMES):
        frame = ground.clone()
        frame[2:5, time : time + 3] = skin
        frames.append(frame.flatten(0, 1))
        masks.append(square(time).long())
    truth = torch.stack(masks).repeat_interleave(size // SIDE, 1).repeat_interleave(size // SIDE, 2)
    return torch.stack(frames), truth


def test_a_moving_square_is_followed() -> None:
    x, truth = video()
    found = propagate(x, (SIDE, SIDE), truth[0], 1, Propagation(neighbours=1))
    # Ground that comes to light again was never seen, where the square began: what it resembles is chance.
    known = torch.ones(SIDE, SIDE, dtype=torch.bool)
    known[2:5, 0:3] = False
    assert torch.equal(found[:, known], truth[:, known])
    assert torch.equal(found[0], truth[0])
    still = follow(truth[:1].expand_as(truth), truth, 1)
    assert follow(found, truth, 1).scores["jf"] > 80 > still.scores["j"]


def test_pictures_larger_than_the_lattice() -> None:
    x, truth = video(32)
    found = propagate(x, (SIDE, SIDE), truth[0], 1)
    assert found.shape == truth.shape
    assert region_j(found[3] == 1, truth[3] == 1) > 0.6


def test_labels_come_from_near_patches_of_the_context_only() -> None:
    x, truth = video()
    # The square jumps to the other side: within one patch there is nothing like it, so that its label is lost.
    jumped = torch.stack([x[0], x[4]])
    far = propagate(jumped, (SIDE, SIDE), truth[0], 1, Propagation(neighbours=1, radius=8))
    assert torch.equal(far[1][2:5, 4:7], torch.ones(3, 3, dtype=torch.int64))
    close = propagate(jumped, (SIDE, SIDE), truth[0], 1, Propagation(neighbours=1, radius=1))
    assert not close[1][2:5, 4:7].any()
    assert nearby((2, 3), 1).sum(1).tolist() == [4, 6, 4, 4, 6, 4]


def test_one_step_is_the_weighted_mean_of_the_nearest() -> None:
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    first = torch.tensor([[0, 1, 1], [2, 0, 2]])
    settings = Propagation(neighbours=3, radius=9, temperature=0.5)
    found = propagate(x, (2, 3), first, 2, settings)
    unit = x / x.norm(dim=-1, keepdim=True)
    for place in range(6):
        likeness = [(float(unit[1, place] @ unit[0, other]), int(first.flatten()[other])) for other in range(6)]
        votes = torch.zeros(3)
        for value, label in sorted(likeness, reverse=True)[:3]:
            votes[label] += torch.tensor(value / 0.5).exp()
        assert int(found[1].flatten()[place]) == int(votes.argmax())


def test_j_by_hand() -> None:
    one, other = square(0), square(1)
    assert region_j(one, one) == 1
    assert region_j(one, other) == pytest.approx(6 / 12)
    nothing = torch.zeros_like(one)
    assert (region_j(nothing, nothing), region_j(one, nothing)) == (1, 0)


def test_f_by_hand() -> None:
    drawn = boundary(square(2))
    # Pixels whose right, lower or diagonal neighbour differs: a ring one pixel up and left of the square's own.
    expected = [
        "........",
        ".####...",
        ".#..#...",
        ".#..#...",
        ".####...",
        "........",
        "........",
        "........",
    ]
    assert ["".join("#" if cell else "." for cell in row) for row in drawn.tolist()] == expected
    assert not boundary(torch.ones(4, 4, dtype=torch.bool)).any()
    one, other = square(1), square(2)
    nothing = torch.zeros_like(one)
    assert boundary_f(one, one) == 1
    assert (boundary_f(nothing, nothing), boundary_f(one, nothing), boundary_f(nothing, one)) == (1, 0, 0)
    shared = int((boundary(one) & boundary(other)).sum())
    assert shared == 6
    assert boundary_f(one, other, tolerance=0) == pytest.approx(shared / 12)
    assert boundary_f(one, other, tolerance=0.01) == 1  # one pixel


def test_growing_is_by_a_disk() -> None:
    dot = torch.zeros(7, 7, dtype=torch.bool)
    dot[3, 3] = True
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
    for reach in (0, 1, 2, 3):
        assert torch.equal(grown(dot, reach), (rows - 3) ** 2 + (columns - 3) ** 2 <= reach**2)


def test_objects_are_told_apart_and_the_ends_left_out() -> None:
    truth = torch.stack([square(time).long() + 2 * square(time, 6, 2).long() for time in range(FRAMES)])
    found = truth.clone()
    found[0], found[-1] = 0, 0
    found[2][found[2] == 2] = 0
    score = follow(found, truth, 2)
    assert score.region.tolist() == pytest.approx([1, 2 / 3])
    assert score.boundary.tolist() == pytest.approx([1, 2 / 3])
    assert score.scores == pytest.approx({"jf": 500 / 6, "j": 500 / 6, "f": 500 / 6})
    assert averages(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0])) == {"jf": 50, "j": 75, "f": 25}


def test_nonsense_is_refused() -> None:
    x, truth = video()
    with pytest.raises(UserError, match="64 tokens do not fill a lattice of 4 rows and 8 columns"):
        propagate(x, (4, 8), truth[0], 1)
    with pytest.raises(UserError, match="must be positive"):
        propagate(x, (SIDE, SIDE), truth[0], 1, Propagation(neighbours=0))
    with pytest.raises(UserError, match="3 frames and an object"):
        follow(truth[:2], truth[:2], 1)
