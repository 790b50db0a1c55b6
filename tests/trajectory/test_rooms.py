"""Worlds of rooms: determinism, walls, doors, shortest ways, tasks, pictures."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest

from modalities.trajectory.embedded import Rooms, Walks
from modalities.trajectory.geometry import CLEARANCE, RADIUS, move, shortest_way
from modalities.trajectory.layouts import DOOR, Layout, walls_of
from modalities.trajectory.rooms import NEAR, WIDEST, RoomsEnv
from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander, checked_wander
from worldjepa.world.environment import Task
from worldjepa.world.noise import normal, uniform

LAYOUTS = get_args(Layout)
WALLED = [layout for layout in LAYOUTS if layout != "empty"]


def seeds(count: int, first: int = 0) -> Any:
    return np.arange(first, first + count, dtype=np.int64)


def wandered(env: RoomsEnv, which: Any, steps: int) -> Any:
    """Positions `[B, steps + 1, 2]` of random episodes."""
    env.reset(which)
    actions = Wander().actions(which, steps, env.low, env.high)
    path = [env.state()]
    for step in range(steps):
        env.step(actions[:, step])
        path.append(env.state())
    return np.stack(path, 1)


def test_random_numbers_are_uniform_and_normal_and_belong_to_their_seed() -> None:
    u, z = uniform(seeds(2000), 7, count=4), normal(seeds(2000), 7, count=4)
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.01)
    assert u.std() == pytest.approx(12**-0.5, abs=0.01)
    assert z.mean() == pytest.approx(0, abs=0.03)
    assert z.std() == pytest.approx(1, abs=0.03)
    assert np.array_equal(u[3:5], uniform(seeds(2, 3), 7, count=4))
    assert not np.array_equal(u, uniform(seeds(2000), 8, count=4))
    pairs = np.corrcoef(np.concatenate([u, uniform(seeds(2000), 8, count=4)], 1).T)
    assert np.abs(pairs - np.eye(8)).max() < 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_world_is_a_function_of_its_seed_and_not_of_its_neighbours(layout: str) -> None:
    env = RoomsEnv(layout, size=16, dots=2)
    together = env.reset(seeds(5))
    push = np.full((5, 2), 0.5)
    after = [env.step(push) for _ in range(3)][-1]
    alone = RoomsEnv(layout, size=16, dots=2)
    assert np.array_equal(alone.reset(seeds(1, 3))[0], together[3])
    assert np.array_equal([alone.step(push[:1]) for _ in range(3)][-1][0], after[3])
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("layout", WALLED)
def test_walls_are_crossed_through_doors_only(layout: str) -> None:
    env = RoomsEnv(layout, "state")
    path = wandered(env, seeds(200), 60)
    crossings = 0
    for wall in range(env.walls.shape[1]):
        x, low, high = env.walls[:, wall].T[:, :, None]
        before, after = path[:, :-1], path[:, 1:]
        through = (before[..., 0] - x) * (after[..., 0] - x) < 0
        for end in (before, after):
            assert ((end[..., 1] > low - 0.05) & (end[..., 1] < high + 0.05))[through].all()
        crossings += int(through.sum())
    assert crossings > 10
    assert path.min() > 0
    assert path.max() < 1
    assert np.linalg.norm(np.diff(path, axis=1), axis=-1).max() <= env.stride + 1e-9


@pytest.mark.parametrize("radius", [RADIUS, WIDEST])
def test_what_runs_into_a_wall_slides_along_it(radius: float) -> None:
    walls = walls_of("two_rooms", seeds(1))
    at = np.array([[0.45, 0.2]])
    pushed = move(at, np.array([[0.06, 0.03]]), walls, radius)
    assert pushed[0].tolist() == pytest.approx([0.5 - radius, 0.23])
    through = move(np.array([[0.47, 0.5]]), np.array([[0.05, 0.0]]), walls, radius)
    assert through[0].tolist() == pytest.approx([0.52, 0.5])


@pytest.mark.parametrize("radius", [RADIUS, WIDEST])
def test_walks_keep_their_radius_from_walls_and_border(radius: float) -> None:
    walks = Rooms("smaze", "state", episodes=40, radius=radius).train().episodes
    assert isinstance(walks, Walks)
    assert np.minimum(walks.path, 1 - walks.path).min() == pytest.approx(radius, abs=1e-6)
    x, low, high = walks.walls[:, None].transpose(3, 0, 1, 2)  # [E, 1, W]
    beside = (walks.path[..., 1:] < low) | (walks.path[..., 1:] > high)
    assert np.abs(walks.path[..., :1] - x)[beside].min() == pytest.approx(radius, abs=1e-6)


def by_search(walls: Any, start: Any, goal: Any, cells: int = 80) -> float:
    """Length of the shortest way on a fine lattice with moves to 24 neighbours: at most a few per cent too long."""
    import heapq

    at = (np.arange(cells) + 0.5) / cells
    moves = [(i, j) for i, j in itertools.product(range(-3, 4), repeat=2) if np.gcd(i, j) == 1]

    def open_(a: Any, b: Any) -> bool:
        for x, low, high in walls:
            if (a[0] - x) * (b[0] - x) < 0:
                height = a[1] + (x - a[0]) / (b[0] - a[0]) * (b[1] - a[1])
                if not low + CLEARANCE <= height <= high - CLEARANCE:
                    return False
        return True

    first, last = (tuple(np.round(np.array(p) * cells - 0.5).astype(int)) for p in (start, goal))
    queue, best = [(0.0, first)], {first: 0.0}
    while queue:
        length, cell = heapq.heappop(queue)
        if cell == last:
            return length
        for i, j in moves:
            to = (cell[0] + i, cell[1] + j)
            if 0 <= to[0] < cells and 0 <= to[1] < cells and open_((at[cell[0]], at[cell[1]]), (at[to[0]], at[to[1]])):
                through = length + np.hypot(i, j) / cells
                if through < best.get(to, np.inf):
                    best[to] = through
                    heapq.heappush(queue, (through, to))
    raise AssertionError("no way")


@pytest.mark.parametrize("layout", ["smaze", "snake"])
def test_the_shortest_way_is_that_of_a_search_on_a_lattice(layout: str) -> None:
    (task,) = RoomsEnv(layout).tasks("far", 1, seed=3)
    walls = walls_of(layout, seeds(1))
    ours = float(shortest_way(walls, np.array([task.start]), np.array([task.goal])).length[0])
    theirs = by_search(walls[0], task.start, task.goal)
    assert ours == pytest.approx(theirs, rel=0.04)
    assert ours > 1.02 * float(np.linalg.norm(np.subtract(task.start, task.goal)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("radius", [RADIUS, WIDEST])
def test_the_expert_reaches_every_goal_in_as_many_steps_as_it_said(layout: str, radius: float) -> None:
    env = RoomsEnv(layout, "state", radius=radius)
    tasks = env.tasks("any", 60, seed=1)
    goal = np.array([task.goal for task in tasks])
    env.begin(tasks)
    said, took = env.steps_left(goal), np.zeros(60)
    assert not env.solved(goal).any()
    for _ in range(int(said.max()) + 12):
        took += ~env.solved(goal)
        before = env.steps_left(goal)
        env.step(env.expert(goal))
        assert (env.steps_left(goal) <= before + 2 * radius / env.stride).all()
    assert env.solved(goal).all()
    assert (took >= np.floor(said)).all()
    assert (took <= said + 2 + 2 * env.walls.shape[1]).all()


@pytest.mark.parametrize("kind", ["near", "any", "far"])
def test_tasks_are_of_their_kind_and_unsolved(kind: str) -> None:
    env = RoomsEnv("smaze")
    tasks = env.tasks(kind, 50, seed=0)
    assert len(tasks) == len(set(tasks)) == 50
    assert tasks == env.tasks(kind, 50, seed=0)
    assert not set(tasks) & set(env.tasks(kind, 50, seed=1))
    env.begin(tasks)
    goal = np.array([task.goal for task in tasks])
    steps = env.steps_left(goal)
    assert not env.solved(goal).any()
    if kind == "near":
        assert steps.max() <= NEAR
    if kind == "far":
        assert (np.abs(env.state()[:, 0] - goal[:, 0]) > 1 / 3).all()
        assert steps.min() > 12


def test_pictures_show_the_point_the_walls_and_the_distractors() -> None:
    env = RoomsEnv("two_rooms", size=32)
    env.reset(seeds(1))
    env.place(np.array([[0.2, 0.7]]))
    point, still = env.imagine(env.state())[0]
    assert np.unravel_index(point.argmax(), point.shape) == (22, 6)
    assert still[2, 15:17].min() > 150
    assert still[16].max() == 0  # the door
    crowd = RoomsEnv("two_rooms", size=32, dots=3)
    crowd.reset(seeds(1))
    first = crowd.imagine(crowd.state())
    for _ in range(50):
        later = crowd.step(np.zeros((1, 2)))
    assert np.array_equal(first[0, 0], later[0, 0])
    assert not np.array_equal(first[0, 1], later[0, 1])
    assert 0 <= crowd.wandering.min() <= crowd.wandering.max() <= 1


def test_states_are_observed_as_they_are() -> None:
    env = RoomsEnv("empty", "state")
    obs = env.reset(seeds(3))
    assert obs.shape == (3, *env.obs_shape) == (3, 2)
    assert np.allclose(obs, env.state())


def test_a_wind_cannot_be_seen_and_carries_half_of_the_worlds_each_way() -> None:
    windy, still = (RoomsEnv("empty", size=16, wind=wind) for wind in (0.02, 0.0))
    assert np.array_equal(windy.reset(seeds(200)), still.reset(seeds(200)))
    middle = np.full((200, 2), 0.5)
    windy.place(middle)
    after = []
    for _ in range(3):
        windy.step(np.zeros((200, 2)))
        after.append(windy.state())
    assert np.allclose(np.abs(after[-1] - middle), [0, 0.06])
    assert 0.4 < (after[-1][:, 1] > 0.5).mean() < 0.6
    assert np.array_equal(after[0][:, 1] > 0.5, after[-1][:, 1] > 0.5)


def test_walks_are_those_of_the_windy_world_and_the_expert_holds_against_it() -> None:
    source = Rooms("two_rooms", "state", episodes=20, steps=9, wind=0.03)
    walks = Walks(source.env, source.policy, seeds(20), 9)
    assert np.allclose(walks.path, wandered(source.environment(), seeds(20), 9), atol=1e-6)
    env = source.environment()
    tasks = env.tasks("any", 40, seed=1)
    goal = np.array([task.goal for task in tasks])
    env.begin(tasks)
    solved = env.solved(goal)
    for _ in range(60):
        env.step(env.expert(goal))
        solved |= env.solved(goal)
    assert solved.all()


def test_random_doors_differ_and_stay_within_the_wall() -> None:
    walls = walls_of("random_doors", seeds(300))
    assert walls[:, 0, 0].std() > 0.05
    assert walls[:, 0, 1].min() >= 0
    assert walls[:, 0, 2].max() <= 1
    assert np.allclose(walls[..., 2] - walls[..., 1], DOOR)


def test_wandering_goes_farther_than_white_noise() -> None:
    env = RoomsEnv("empty", "state")
    low, high = env.low, env.high

    def reach(policy: Wander) -> float:
        steps = policy.actions(seeds(300), 20, low, high)
        assert ((steps >= low) & (steps <= high)).all()
        return float(np.linalg.norm(steps.sum(1), axis=-1).mean())

    assert reach(Wander(persistent=1.0)) > 2 * reach(Wander(persistent=0.0))
    assert np.array_equal(Wander().actions(seeds(4), 9, low, high)[2:], Wander().actions(seeds(2, 2), 9, low, high))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "smace"}, "layout 'smace' is not known .*'smaze'"),
        ({"view": "pixel"}, "view 'pixel' is not known .*'pixels'"),
        ({"size": 4}, "size must be at least 8"),
        ({"stride": 0.5}, "stride must be in"),
        ({"radius": 0.05}, "radius must be in .*0.05"),
        ({"wind": 0.05}, "wind must be at least 0 and below stride=0.05.*wind=0.05"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RoomsEnv(**settings)


def test_impossible_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="no tasks of the kind 'far'"):
        RoomsEnv("empty").tasks("far", 2, 0)
    with pytest.raises(UserError, match="kind of tasks 'farr'"):
        RoomsEnv("smaze").tasks("farr", 2, 0)
    with pytest.raises(UserError, match="outside the unit square"):
        RoomsEnv("smaze").begin([Task(0, (2.0, 0.0), (0.5, 0.5))])
    with pytest.raises(UserError, match="turn in"):
        checked_wander(0.5, 0.0, 0.1)
