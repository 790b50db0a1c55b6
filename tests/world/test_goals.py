"""Environments of gymnasium: dictionaries of observations, pictures, states that can be set, goals, and plans in them."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modalities.trajectory.data import Recorded
from world.ball import NAME, SIDE, Ball, BallKnown, register
from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.world import known
from worldjepa.world.agent import Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import Navigable, Task
from worldjepa.world.goals import GymGoals, open_gym
from worldjepa.world.gymnasium import GymEnvironment
from worldjepa.world.known import PointMaze, PushT, known_of
from worldjepa.world.record import record, seeds_of
from worldjepa.world.tasks import TaskSet, check_tasks
from worldjepa.world.trial import carry_out

register()


def goals(**settings: Any) -> GymGoals:
    return GymGoals(NAME, known=BallKnown(), **settings)


# --- observing -------------------------------------------------------------------------------------------------------


def test_one_of_several_observations_is_taken() -> None:
    usual, other = GymEnvironment(NAME), GymEnvironment(NAME, key="sum")
    seeds = seeds_of(0, range(3))
    both = usual.reset(seeds)
    assert (both.shape, both.dtype) == ((3, 2), np.float32)
    assert np.allclose(other.reset(seeds)[:, 0], both.sum(1))
    pushed = usual.step(np.ones((3, 2)))
    assert np.allclose(pushed, np.minimum(both + 0.1, 1))
    assert usual.state() is None
    with pytest.raises(UserError, match="nothing is known about the state"):
        usual.place(both)


def test_pictures_are_drawn_and_brought_to_size() -> None:
    env = GymEnvironment(NAME, "pixels", size=SIDE)
    seen = env.reset(seeds_of(0, range(2)))
    assert (seen.shape, seen.dtype) == ((2, 3, SIDE, SIDE), np.uint8)
    assert [int((one[0] == 255).sum()) for one in seen] == [25, 25]
    small = GymEnvironment(NAME, "pixels", size=12).reset(seeds_of(0, range(2)))
    assert small.shape == (2, 3, 12, 12)
    blocks = seen.reshape(2, 3, 12, 2, 12, 2).mean((3, 5))
    assert np.abs(small - blocks).max() <= 1


def test_what_cannot_be_observed_is_named() -> None:
    other = register("worldjepa_test/Other-v0", usual=False)
    for make, message in (
        (
            lambda: GymEnvironment(other),
            "several observations: choose one with env.key=, or env.view=pixels; position, sum",
        ),
        (lambda: GymEnvironment(NAME, key="summ"), "key 'summ' is not known.*did you mean 'sum'"),
        (lambda: GymEnvironment("Pendulum-v1", key="sum"), "one kind of observations only"),
        (lambda: GymEnvironment(NAME, "pixel"), "view 'pixel' is not known.*did you mean 'pixels'"),
        (lambda: GymEnvironment(NAME, size=3), "at least 8 pixels"),
        (lambda: GymGoals(NAME), "nothing is known about the state of worldjepa_test/Ball-v0"),
    ):
        with pytest.raises(UserError, match=message):
            make()
    assert isinstance(open_gym(NAME), GymEnvironment)
    assert isinstance(open_gym(NAME, known=BallKnown()), GymGoals)


def test_held_out_seeds_are_not_those_of_training() -> None:
    """gymnasium's seeds have 31 bits: those of tasks begin at 2^40, and must not begin anew at 0."""
    env = GymEnvironment(NAME)
    assert not np.allclose(env.reset(seeds_of(0, range(4))), env.reset((1 << 40) + seeds_of(0, range(4))))


# --- goals -----------------------------------------------------------------------------------------------------------


def test_worlds_are_put_into_states_and_goals_are_imagined_beside_them() -> None:
    env = goals(view="pixels", size=SIDE)
    env.reset(seeds_of(1, range(3)))
    state = np.array([[0.1, 0.2], [0.5, 0.5], [0.9, 0.3]])
    seen = env.place(state)
    assert np.allclose(env.state(), state)
    goal = state[::-1].copy()
    imagined = env.imagine(goal)
    assert np.array_equal(imagined, seen[::-1])
    assert np.allclose(env.state(), state)  # it only imagined
    assert env.solved(state + 0.1).all()
    assert not env.solved(state + 0.15).any()
    assert not isinstance(env, Navigable)


def test_one_world_draws_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, actions = seeds_of(4, range(3)), np.full((3, 2), 0.4)
    each = goals(view="pixels", size=SIDE)
    seen = [each.reset(seeds), each.step(actions), each.imagine(each.state()[::-1].copy())]
    monkeypatch.setattr(BallKnown, "one_painter", True)
    shared = goals(view="pixels", size=SIDE)
    assert np.array_equal(
        np.stack(seen), [shared.reset(seeds), shared.step(actions), shared.imagine(shared.state()[::-1])]
    )
    assert [world.render_mode for world in shared.worlds.worlds] == [None] * 3
    (painter,) = shared.worlds.painters
    assert painter.render_mode == "rgb_array"


def test_worlds_are_closed_with_what_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []
    env = GymEnvironment(NAME)
    env.reset(seeds_of(0, range(3)))
    monkeypatch.setattr(Ball, "close", lambda world: closed.append(world))
    del env
    gc.collect()
    assert len(closed) == 3


@pytest.mark.parametrize("kind", BallKnown.ahead)
def test_goals_are_where_a_held_out_episode_goes(kind: str) -> None:
    env = goals()
    tasks = env.tasks(kind, 6, seed=2)
    assert len(tasks) == 6
    assert tasks == goals().tasks(kind, 6, seed=2)
    assert tasks != env.tasks(kind, 6, seed=3)
    assert len({task.seed for task in tasks}) == 6
    ends = [
        episode.proprioception[-1]
        for task in tasks[:3]
        for episode in record(env, Wander(), np.array([task.seed]), BallKnown.ahead[kind])
        if episode.proprioception is not None
    ]
    assert np.allclose(ends, [task.goal for task in tasks[:3]], atol=1e-6)
    assert np.allclose(env.begin(tasks), [task.start for task in tasks], atol=1e-6)
    assert not env.solved(np.array([task.goal for task in tasks])).any()
    check_tasks(TaskSet(kind, 9, {}, tasks), env, {}, "these")


def test_where_no_goal_is_far_enough_there_are_no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldjepa.world.goals.TRIES", 3)
    with pytest.raises(UserError, match="kind of tasks 'long' is not known"):
        goals().tasks("long", 1, 0)
    short = register("worldjepa_test/Short-v0", end=12)
    assert len(GymGoals(short, known=BallKnown()).tasks("near", 3, 0)) == 3
    with pytest.raises(UserError, match="has no tasks of the kind 'any': 0 of 3 found"):
        GymGoals(short, known=BallKnown()).tasks("any", 3, 0)


def test_episodes_are_carried_out_without_an_oracle() -> None:
    env = goals()
    tasks = [Task(0, (0.5, 0.5), (0.5, 0.5)), Task(1, (0.1, 0.1), (0.9, 0.9))]
    outcome = carry_out(env, Wanderer(Wander(), env.low, env.high, 3), tasks, 3, whole=True)
    assert outcome.shortest is None
    assert outcome.first.tolist() == [1, -1]
    assert outcome.path.shape == (2, 4, 2)


# --- the two that are known ------------------------------------------------------------------------------------------


def pushed() -> Any:
    """What `PushT` touches of gym-pusht's environment."""
    body = lambda **more: SimpleNamespace(position=(0.0, 0.0), velocity=(9.0, 9.0), angle=7.0, **more)  # noqa: E731
    space = SimpleNamespace(moved=[])
    space.reindex_shapes_for_body = space.moved.append
    world = SimpleNamespace(agent=body(), block=body(angular_velocity=3.0), space=space)
    world.get_obs = lambda: "observed"
    return world


def test_pusht_is_put_where_it_is_told_and_at_rest() -> None:
    world, state = pushed(), np.array([10.0, 20.0, 300.0, 200.5, 6.0])
    assert PushT().place(world, state) == "observed"
    assert np.array_equal(PushT().state(world), state)
    assert (world.agent.velocity, world.block.velocity, world.block.angular_velocity) == ((0, 0), (0, 0), 0)
    assert world.space.moved == [world.agent, world.block]
    world.block.angle = -1.0
    assert PushT().state(world)[4] == pytest.approx(2 * np.pi - 1)


@pytest.mark.parametrize(
    ("off", "reached"),
    [
        ([0, 0, 0, 0, 0], True),
        ([14, 14, 0, 0, 0], True),
        ([15, 0, 15, 0, 0], False),  # together 21 away
        ([0, 0, 0, 20, 0], False),
        ([0, 0, 0, 0, np.pi / 9 - 0.01], True),
        ([0, 0, 0, 0, np.pi / 9 + 0.01], False),
        ([0, 0, 0, 0, 2 * np.pi - 0.1], True),  # once around
        ([0, 0, 0, 0, 0.1 - 2 * np.pi], True),
    ],
)
def test_pusht_is_solved_by_position_and_angle(off: list[float], reached: bool) -> None:
    goal = np.array([[100.0, 100.0, 200.0, 200.0, 1.0]])
    assert PushT().solved(goal + np.array([off]), goal).tolist() == [reached]


def test_a_maze_is_solved_by_position_alone() -> None:
    goal = np.array([[1.0, 1.0, 0.0, 0.0]] * 3)
    there = goal + np.array([[0.44, 0, 5, 5], [0.46, 0, 0, 0], [0.33, 0.33, 0, 0]])
    assert PointMaze().solved(there, goal).tolist() == [True, False, False]


def mazed() -> Any:
    """What `PointMaze` touches of gymnasium-robotics' environment."""
    data = SimpleNamespace(qpos=np.zeros(2), qvel=np.zeros(2))
    point = SimpleNamespace(data=data, set_state=lambda qpos, qvel: data.__dict__.update(qpos=qpos, qvel=qvel))
    model = SimpleNamespace(site_rgba=np.ones((2, 4)))
    return SimpleNamespace(point_env=point, model=model, target_site_id=1, goal=np.array([3.0, 4.0]))


def test_a_maze_is_put_into_a_state_and_its_own_goal_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    world = mazed()
    seen = PointMaze().place(world, np.array([1.0, 2.0, 0.5, -0.5]))
    assert PointMaze().state(world).tolist() == [1, 2, 0.5, -0.5]
    assert {key: value.tolist() for key, value in seen.items()} == {
        "observation": [1, 2, 0.5, -0.5],
        "achieved_goal": [1, 2],
        "desired_goal": [3, 4],
    }
    monkeypatch.setenv("MUJOCO_GL", "egl")
    PointMaze().prepared(SimpleNamespace(unwrapped=world), "pixels")
    assert world.model.site_rgba[:, 3].tolist() == [1, 0]
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match="MUJOCO_GL is egl"):
        PointMaze().prepared(SimpleNamespace(unwrapped=world), "pixels")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PushT, "module", "not_there_at_all")
    with pytest.raises(UserError, match=r"gym_pusht/PushT-v0 needs not_there_at_all: pip install worldjepa\[pusht\]"):
        known_of("gym_pusht/PushT-v0")
    assert known_of("Pendulum-v1") is None


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def explored(env: GymGoals) -> None:
    """States are set exactly, what is seen is a function of them, and tasks are none where they begin."""
    seeds = seeds_of(5, range(2))
    first, start = env.reset(seeds), env.state()
    action = (env.low + 0.75 * (env.high - env.low))[None].repeat(2, 0)
    for _ in range(5):
        later = env.step(action)
    there = env.state()
    assert not np.allclose(there, start)
    assert not np.array_equal(later, first)
    again = env.place(there)
    assert np.allclose(env.state(), there, atol=1e-9)
    assert np.array_equal(env.imagine(there), again)
    assert np.array_equal(env.place(start), env.imagine(start))
    assert not np.array_equal(again, env.imagine(start))
    tasks = env.tasks("near", 2, 0)
    env.begin(tasks)
    assert np.allclose(env.state(), [task.start for task in tasks], atol=1e-4)
    assert not env.solved(np.array([task.goal for task in tasks])).any()
    env.place(np.array([task.goal for task in tasks]))
    assert env.solved(np.array([task.goal for task in tasks])).all()


@installed("gym_pusht")
@pytest.mark.filterwarnings("ignore")  # its own
@pytest.mark.parametrize("view", ["observations", "pixels"])
def test_pusht_itself(view: str) -> None:
    env = open_gym("gym_pusht/PushT-v0", view, size=32)
    assert isinstance(env, GymGoals)
    assert env.reset(seeds_of(0, range(1))).shape[1:] == ((5,) if view == "observations" else (3, 32, 32))
    explored(env)


@installed("gymnasium_robotics")
@pytest.mark.filterwarnings("ignore")  # its own
def test_the_maze_itself() -> None:
    env = open_gym("PointMaze_UMaze-v3")
    assert isinstance(env, GymGoals)
    assert env.reset(seeds_of(0, range(1))).shape == (1, 4)
    explored(env)


@installed("gymnasium_robotics")
@pytest.mark.skipif(os.environ.get("MUJOCO_GL") != "egl", reason="MUJOCO_GL=egl is not set")
@pytest.mark.filterwarnings("ignore")  # its own
def test_the_maze_itself_in_pictures() -> None:
    env = open_gym("PointMaze_UMaze-v3", "pixels", size=32)
    assert isinstance(env, GymGoals)
    explored(env)


# --- from end to end -------------------------------------------------------------------------------------------------


@pytest.fixture
def ball_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if worldjepa knew it."""
    monkeypatch.setitem(known.KNOWN, "worldjepa_test/Ball", BallKnown())
    monkeypatch.setattr(BallKnown, "module", "world.ball")


def test_collect_train_plan(
    ball_known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from worldjepa.cli import agents, planning

    out, run = tmp_path / "episodes", tmp_path / "run"
    collect = [
        "collect",
        f"env=gymnasium:{NAME}",
        "env.view=pixels",
        "env.size=16",
        "episodes=6",
        "steps=12",
        f"out={out}",
    ]
    assert main(collect) == 0
    with np.load(next(out.glob("*.npz"))) as episode:
        assert episode["observations"].shape == (13, 3, 16, 16)
        assert episode["proprioception"].shape == (13, 2)
    data = ["data=gym", f"data.name={NAME}", f"data.root={out}", "data.size=16", "data.horizon=4"]
    toy = ["arch.dim=8", "arch.size=16", "arch.channels=3", "arch.predictor.dim=24", "arch.predictor.depth=1"]
    toy += ["run.threads=1", "run.accelerator=cpu", "run.tensorboard=false", "run.batch_size=8", "run.workers=0"]
    train = ["train", "modality=trajectory", *data, *toy, "probe.enabled=false", "run.steps=3", f"run.out={run}"]
    assert main(train) == 0
    for path in out.iterdir():  # to plan, the episodes are not needed
        path.unlink()
    for module, name, value in (
        *((planning, "PROBED", 160), (planning, "ASTRAY", 16)),
        *((agents, "WATCHED", 2), (agents, "FITTED", 10)),
    ):
        monkeypatch.setattr(module, name, value)
    plan = ["plan", f"checkpoint={run}", "count=3", "budget=4", "horizon=4", "samples=8", f"out={tmp_path / 'plans'}"]
    assert main([*plan, "tasks=near", "space=bank", "cost=reach"]) == 0
    found = json.loads((tmp_path / "plans" / "plan.json").read_text())
    assert [name.split()[0] for name in found["actors"]] == ["planned", "random"]
    assert all(row["shortest"] is None for row in found["actors"].values())
    assert found["settings"]["environment"] == {"name": NAME, "view": "pixels", "key": None, "size": 16}
    assert set(found["open_loop_error"]) == {"10", "30", "60"}
    assert sorted(path.name for path in (tmp_path / "plans").iterdir()) == ["plan.json", "tasks.json"]
    again = [word for word in plan if not word.startswith("out=")]
    capfd.readouterr()
    assert main([*again, f"tasks={tmp_path / 'plans' / 'tasks.json'}", "env.view=observations"]) == 2
    assert "holds tasks for view=pixels, but the environment has view=observations" in capfd.readouterr().err


def test_episodes_that_were_seen_in_another_way_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "episodes"
    assert main(["collect", f"env=gymnasium:{NAME}", "episodes=2", "steps=8", f"out={out}"]) == 0
    windows = Recorded(NAME, str(out), view="observations", horizon=3, known=BallKnown()).train()
    assert windows.shape == (4, 2)
    for settings, message in (
        ({"view": "pixels"}, "recorded with view=observations, but the data are said to have view=pixels"),
        ({"view": "observations", "key": "sum"}, "recorded with key=None"),
        ({"view": "observations", "name": "Pendulum-v1"}, f"recorded with env=gymnasium:{NAME}"),
    ):
        with pytest.raises(UserError, match=message):
            Recorded(**{"name": NAME, "root": str(out), **settings}).train()


def test_unknown_environments_of_your_own_are_made_known_in_the_configuration(tmp_path: Path) -> None:
    out = tmp_path / "episodes"
    assert main(["collect", f"env=gymnasium:{NAME}", "episodes=2", "steps=8", f"out={out}"]) == 0
    words = ["modality=trajectory", "data=gym", f"data.name={NAME}", f"data.root={out}", "data.view=observations"]
    words += ["data.known={_target_: world.ball.BallKnown}", "data.horizon=3", "arch=state_frames", "run.steps=1"]
    words += ["run.threads=1", "run.accelerator=cpu", "run.tensorboard=false", "run.batch_size=4", "run.workers=0"]
    assert main(["train", *words, "probe.enabled=false", f"run.out={tmp_path / 'run'}"]) == 0
    from worldjepa.cli.planning import opened

    _, _, environment, _ = opened(tmp_path / "run", [], [], ["world."])
    assert isinstance(environment, GymGoals)
    assert isinstance(environment.known, BallKnown)
    with pytest.raises(UserError, match=r"world\.ball"):
        opened(tmp_path / "run", [], [], [])


def test_mistakes_of_collect_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for word, message in (
        ("env.viev=pixels", "key 'env.viev' is not known (did you mean 'env.view'?)"),
        ("env.size=big", "env.size=big: must be a whole number"),
        ("env.view=pixies", "view 'pixies' is not known (did you mean 'pixels'?)"),
    ):
        assert main(["collect", f"env=gymnasium:{NAME}", word, "episodes=1", f"out={tmp_path / 'o'}"]) == 2
        assert message in capfd.readouterr().err


def test_the_ball_is_what_gymnasium_expects() -> None:
    assert isinstance(GymEnvironment(NAME)._make("pixels").unwrapped, Ball)
