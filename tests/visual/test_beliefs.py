"""Similarity of predictions, neighbours and the energy of actions, in models that are understood exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from world.exact import exact

from modalities.image.depiction import Images
from modalities.image.observations import ArrayObservations
from visual.known import Known, believing
from worldjepa.data import Labels
from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder
from worldjepa.masks import MultiBlock
from worldjepa.types import Grid
from worldjepa.visual.energy import angles, energy_picture, landscape, least
from worldjepa.visual.neighbours import nearest, neighbours_picture
from worldjepa.visual.similarity import similarity, similarity_picture
from worldjepa.world.costs import LatentDistance
from worldjepa.world.model import Frames

GRID = Grid(1, 6, 8)
OBS = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
(MASKS,) = MultiBlock(min_context=4)(GRID, 3, torch.Generator().manual_seed(0))


def test_who_knows_the_place_ranks_it_first() -> None:
    found = similarity(believing(GRID, 0), OBS, MASKS)
    assert torch.equal(found.rank, torch.ones_like(MASKS.target))
    assert torch.equal(found.cosine.argmax(-1), MASKS.target)
    numbers = similarity_picture(believing(GRID, 0), OBS, MASKS, Images()).numbers
    assert (numbers["mean_rank"], numbers["first"], numbers["chance_rank"]) == (1, 1, 24.5)
    assert numbers["cosine_all"] == pytest.approx(1 / 48)


def test_who_errs_by_two_columns_is_found_out() -> None:
    found = similarity(believing(GRID, 2), OBS, MASKS)
    rows, columns = MASKS.target // 8, MASKS.target % 8
    assert torch.equal(found.cosine.argmax(-1), rows * 8 + (columns + 2) % 8)
    # All other places fit equally badly, and none of them worse than the true one.
    assert torch.equal(found.rank, torch.full_like(MASKS.target, 48))


def test_nearest_against_a_search_through_all() -> None:
    rng = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(5, 7, generator=rng), torch.randn(30, 7, generator=rng)
    found = nearest(queries, bank, 4)
    for row, query in enumerate(queries):
        cosines = [float(query @ other / query.norm() / other.norm()) for other in bank]
        order = sorted(range(30), key=lambda place: -cosines[place])[:4]
        assert found.rows[row].tolist() == order
        assert found.cosine[row].tolist() == pytest.approx([cosines[place] for place in order], abs=1e-6)
    own = nearest(bank[:3], bank, 29, torch.arange(3))
    assert all(row not in own.rows[row].tolist() for row in range(3))
    with pytest.raises(UserError, match="k=30 must be at least 1 and at most 29"):
        nearest(bank[:3], bank, 30, torch.arange(3))


def lights(count: int, seed: int) -> ArrayObservations:
    """Images of four kinds: a quarter of each is bright, and the class says which."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 4
    images = rng.integers(0, 30, (count, 1, 8, 8)).astype(np.uint8)
    for image, one in zip(images, kind, strict=True):
        image[0, 4 * (one // 2) :][:4, 4 * (one % 2) :][:, :4] += 200
    return ArrayObservations(images, {"quarter": Labels(kind, ["a", "b", "c", "d"])})


class Flat(Encoder):
    """One token: the image."""

    dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def grid(self, obs_shape) -> Grid:  # type: ignore[no-untyped-def]
        return Grid()

    def forward(self, obs, keep=None):  # type: ignore[no-untyped-def]
        from worldjepa.types import Tokens

        return Tokens(self.scale * obs.float().flatten(1)[:, None], self.grid(()).pos().expand(len(obs), -1, -1))


def test_neighbours_share_the_class_where_representations_tell_it() -> None:
    bank, queries = lights(40, 0), lights(12, 1)
    shown = neighbours_picture(Flat(), queries, bank, Images(), [0, 5], k=3)
    assert shown.numbers["same_class"] == shown.numbers["same_class_nearest"] == 1
    assert shown.numbers["chance"] == 0.25
    assert "100.0 % of the neighbours" in shown.caption
    within = neighbours_picture(Flat(), bank, bank, Images(), [0, 5], k=9)
    assert within.numbers["same_class"] == 1  # nine others of each class, none of them itself
    bare = ArrayObservations(np.stack([bank.observe(i).numpy() for i in range(40)]), {})
    assert neighbours_picture(Flat(), bare, bare, Images(), [0], k=2).numbers["factor"] is None
    with pytest.raises(UserError, match="did you mean 'quarter'"):
        neighbours_picture(Flat(), queries, bank, Images(), [0], factor="quater")


def test_the_energy_of_a_world_that_adds() -> None:
    model, start, goal = exact(), torch.tensor([[0.5, 0.5], [0.2, 0.6]]), torch.tensor([[0.6, 0.45], [0.2, 0.7]])
    history = Frames(start[:, None, None], torch.zeros(1, 2))
    energy, values = landscape(model, history, goal[:, None], LatentDistance("l2", "last"), hold=3, side=5)
    assert values[:, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    for task in range(2):
        for row, y in enumerate(values[:, 1]):
            for column, x in enumerate(values[:, 0]):
                end = start[task] + 3 * 0.05 * torch.stack([x, y])
                assert float(energy[task, row, column]) == pytest.approx(
                    float((end - goal[task]).square().mean()), abs=1e-6
                )
    best = least(energy, values)
    assert best.tolist() == [[0.5, -0.5], [0, 0.5]]
    assert angles(best, (goal - start).numpy()) == pytest.approx([18.43, 0], abs=0.01)


def test_the_picture_marks_and_counts() -> None:
    model, start, goal = exact(), torch.full((3, 2), 0.5), torch.tensor([[0.7, 0.5], [0.5, 0.3], [0.5, 0.5]])
    history = Frames(start[:, None, None], torch.zeros(1, 2))
    scenes = np.zeros((3, 10, 10, 3), np.uint8)
    real = (goal - start).numpy()
    plan = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    shown = energy_picture(model, history, goal[:, None], LatentDistance(), scenes, 2, 9, plan, real)
    assert shown.numbers["angle"] == [0, 0, None]  # the third is at its goal: no direction
    assert shown.numbers["angle_of_plan"] == [90, 0, None]
    assert shown.numbers["median_angle_of_plan"] == 45
    assert shown.numbers["least"][2] == [0, 0]
    without = energy_picture(model, history, goal[:, None], LatentDistance(), scenes)
    assert without.numbers["angle"] is None
    assert "angle" not in without.caption


def test_directions() -> None:
    one = np.array([[1.0, 0], [1, 0], [1, 1], [0, 0]])
    other = np.array([[2.0, 0], [-1, 0], [1, 0], [1, 0]])
    assert angles(one, other) == pytest.approx([0, 180, 45, np.nan], nan_ok=True)


def test_actions_of_other_numbers_are_refused() -> None:
    history = Frames(torch.zeros(1, 1, 1, 2), torch.zeros(1, 2))
    with pytest.raises(UserError, match="hold must be at least 1 and side at least 2: hold=1, side=1"):
        landscape(exact(), history, torch.zeros(1, 1, 2), LatentDistance(), 1, 1)


def test_known_is_what_the_tests_say() -> None:
    x = Known(4)(OBS).x
    assert torch.allclose(x[1, 8 + 3, 1:3], torch.tensor([3 * 1 + 1.0, 3 + 1.0]))
    assert torch.allclose(x[1, 8 + 3, 0], 20 * OBS[1, :, 4:8, 12:16].float().mean() / 255 + 1)
