"""Steps that are left, by the shortest way over states of episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path
from torch import nn

from modalities.trajectory.rooms import RoomsEnv
from world.exact import Walled
from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import LatentDistance
from worldjepa.world.landmarks import Landmarks, shortest, spread
from worldjepa.world.model import Frames, Rollout
from worldjepa.world.planners import CEM, Question
from worldjepa.world.record import record, seeds_of, whole
from worldjepa.world.spaces import Box


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ways_are_the_shortest() -> None:
    lengths = torch.where(
        torch.rand(40, 40, generator=rng()) < 0.1, torch.rand(40, 40, generator=rng(1)) + 0.1, torch.inf
    )
    lengths[:, 7] = torch.inf  # nobody gets there
    lengths.fill_diagonal_(0)
    expected = shortest_path(np.where(lengths.isinf().numpy(), 0, lengths.numpy()))
    expected[np.isinf(expected)] = expected[np.isfinite(expected)].max() + 1
    assert np.allclose(shortest(lengths).numpy(), expected, atol=1e-5)


def test_landmarks_lie_far_apart_and_every_point_knows_its_own() -> None:
    points = torch.rand(200, 3, generator=rng())
    chosen, own = spread(points, 12)
    picked = [0]
    while len(picked) < 12:
        picked.append(int(torch.cdist(points, points[picked]).amin(1).argmax()))
    assert torch.equal(chosen, points[picked])
    assert torch.equal(own, torch.cdist(points, chosen).argmin(1))
    few, own = spread(points[[3, 5, 3, 5]], 12)
    assert torch.equal(few, points[[3, 5]])
    assert own.tolist() == [0, 1, 0, 1]


def test_a_thin_wall_is_as_thick_as_the_way_round_it() -> None:
    """In the snake, where the positions themselves are the representations, steps are those of the shortest way."""
    env = RoomsEnv("snake", "state", radius=0.02)
    episodes = whole(record(env, Wander(), seeds_of(1, range(400)), 60), 60)
    cost = Landmarks(400)
    cost.fit(torch.from_numpy(np.stack([episode.observations for episode in episodes]))[:, :, None])
    env.reset(seeds_of(2, range(300)))
    start = torch.from_numpy(env.position).float()
    env.reset(seeds_of(3, range(300)))
    goal = torch.from_numpy(env.position).float()
    env.reset(seeds_of(2, range(300)))
    true = env.steps_left(goal.numpy().astype(np.float64)) + env.reach / env.stride
    left = cost.steps(start[:, None], goal)[:, 0].numpy()
    flying = (start - goal).norm(dim=1).numpy()
    assert np.corrcoef(true, left)[0, 1] > 0.97
    assert np.corrcoef(true, flying)[0, 1] < 0.9
    # Random walks take longer than the shortest way, all of them by about the same factor.
    ratio = left[true > 10] / true[true > 10]
    assert np.quantile(ratio, 0.1) > 0.7 * np.median(ratio)


def test_planners_go_round_where_distance_leads_to_the_wall() -> None:
    box = Box(-torch.ones(2), torch.ones(2))
    walks = box.sample((300, 1, 40), rng()).cumsum(2).mul(0.3).sin()  # directions that change slowly
    places = torch.rand(300, 1, 1, 2, generator=rng(1))
    places[..., 1] = torch.where(places[..., 1] < 0.5, 0.9, 1.1) * places[..., 1]
    begin = Frames(places, torch.zeros(1, 2))
    cost = Landmarks(300, "last")
    cost.fit(Walled(0.03).rollout(begin, walks).states[:, 0])
    here, goal = torch.tensor([[[[0.6, 0.4]]]]), torch.tensor([[[0.6, 0.6]]])
    asked = Question(Frames(here, torch.zeros(1, 2)), goal, 18)
    ends = []
    for judge in (cost, LatentDistance(reduce="last")):
        plan = CEM(256, 10, 16).plan(Walled(0.03), asked, judge, box, rng(2))
        ends.append(plan.states[0, -1, 0])
    assert float(ends[0][1]) > 0.5
    assert float((ends[0] - goal[0, 0]).norm()) < 0.25
    assert float(ends[1][1]) < 0.5  # at the wall


def test_costs_of_candidates_are_those_of_their_states() -> None:
    cost = Landmarks(20, "min")
    cost.fit(torch.rand(6, 30, 2, 3, generator=rng()))
    states, goal = torch.rand(2, 4, 5, 2, 3, generator=rng(1)), torch.rand(2, 2, 3, generator=rng(2))
    states.requires_grad_(True)
    costs = cost(Rollout(states, torch.zeros(2, 4, 5, 1), None, 0), goal)
    each = [
        [
            min(float(cost.steps(s.flatten()[None, None], goal[b].flatten()[None])) for s in way)
            for way in states.detach()[b]
        ]
        for b in (0, 1)
    ]
    assert torch.allclose(costs.detach(), torch.tensor(each))
    (slope,) = torch.autograd.grad(costs.sum(), states)
    assert float(slope.abs().sum()) > 0
    assert float(cost(Rollout(goal[:, None, None], torch.zeros(2, 1, 1, 1), None, 0), goal).max()) < 1e-4


@pytest.mark.parametrize("lift", [nn.Identity(), nn.Linear(3, 3, bias=False)], ids=["the same", "three times as far"])
def test_other_representations_keep_the_ways(lift: nn.Module) -> None:
    cost = Landmarks(60)
    cost.fit(torch.rand(6, 30, 2, 3, generator=rng()))
    if isinstance(lift, nn.Linear):
        lift.weight.data = 3 * torch.eye(3)
    other = cost.lifted(lift, "min")
    assert other.reduce == "min"
    here, goal = torch.rand(2, 9, 6, generator=rng(1)), torch.rand(2, 6, generator=rng(2))
    scale = 3 if isinstance(lift, nn.Linear) else 1
    assert torch.allclose(other.steps(scale * here, scale * goal), cost.steps(here, goal), rtol=1e-4)
    with pytest.raises(UserError, match="fitted to episodes first"):
        Landmarks().lifted(lift, "min")


def test_impossible_settings_are_named() -> None:
    with pytest.raises(UserError, match="at least 2 landmarks"):
        Landmarks(1)
    with pytest.raises(UserError, match="reduce 'mean'"):
        Landmarks(reduce="mean")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="more than 4 frames"):
        Landmarks().fit(torch.zeros(3, 4, 1, 2))
    with pytest.raises(UserError, match="fitted to episodes first"):
        Landmarks().steps(torch.zeros(1, 1, 2), torch.zeros(1, 2))
