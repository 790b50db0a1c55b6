"""States beside actions: how conditions are split, delivered and told to a model while it imagines and acts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from modalities.trajectory.data import EpisodeFolder, Rooms
from modalities.trajectory.episodes import InMemory
from modalities.trajectory.windows import Windows
from world.exact import HIGH, LOW, Positions, empty
from worldjepa.causal import CausalViT
from worldjepa.cli import main
from worldjepa.dynamics import Dynamics
from worldjepa.errors import Unreadable, UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.states import Add, AddPose, Follows, Hold, StateSpec, angles_of, rotation_of
from worldjepa.over_time import InverseDynamics
from worldjepa.types import Grid, Tokens
from worldjepa.vectors import ResidualMLP
from worldjepa.world.agent import Agent
from worldjepa.world.costs import LatentDistance
from worldjepa.world.environment import Task
from worldjepa.world.episodes import Episode, write_npz
from worldjepa.world.model import WorldModel
from worldjepa.world.planners import CEM
from worldjepa.world.spaces import Box
from worldjepa.world.trial import carry_out


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- rules --------------------------------------------------------------------------------------------------------------


def test_rotations_are_those_of_scipy() -> None:
    angles = 3 * randn(200, 3)
    matrices = Rotation.from_euler("xyz", angles.numpy()).as_matrix()
    torch.testing.assert_close(rotation_of(angles), torch.from_numpy(matrices).float(), atol=1e-6, rtol=0)
    back = torch.from_numpy(Rotation.from_matrix(matrices).as_euler("xyz")).float()
    torch.testing.assert_close(angles_of(rotation_of(angles.double())).float(), back, atol=1e-5, rtol=0)


def test_a_change_of_pose_undoes_the_difference_of_two() -> None:
    """An action is taken from two poses in a row: displacement, the angles of R' R^T, change of the gripper."""
    here, there = randn(50, 7, seed=1), randn(50, 7, seed=2)
    here[:, 6], there[:, 6] = torch.rand(50), torch.rand(50)
    before, after = (Rotation.from_euler("xyz", pose[:, 3:6].numpy()) for pose in (here, there))
    turn = torch.from_numpy((after * before.inv()).as_euler("xyz")).float()
    action = torch.cat([there[:, :3] - here[:, :3], turn, there[:, 6:] - here[:, 6:]], -1)
    found = AddPose()(here, action)
    torch.testing.assert_close(found[:, [0, 1, 2, 6]], there[:, [0, 1, 2, 6]], atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation_of(found[:, 3:6]), rotation_of(there[:, 3:6]), atol=1e-5, rtol=0)
    assert float(AddPose()(here, torch.full((50, 7), 5.0))[:, 6].max()) == 1.0


def test_rules_say_what_does_not_fit() -> None:
    assert torch.equal(Hold()(randn(2, 3), randn(2, 2)), randn(2, 3))
    assert torch.equal(Add(0.5)(torch.ones(2, 2), torch.ones(2, 2)), torch.full((2, 2), 1.5))
    with pytest.raises(UserError, match="actions of 2 numbers cannot be added to states of 3"):
        Add()(randn(2, 3), randn(2, 2))
    with pytest.raises(UserError, match="have 7 numbers, not 3 and 7"):
        AddPose()(randn(2, 3), randn(2, 7))
    with pytest.raises(UserError, match="at least 1 number: dim=0"):
        StateSpec(0)


# --- conditions ---------------------------------------------------------------------------------------------------------


def test_each_part_of_a_condition_is_normalised_by_itself() -> None:
    spec = ActionSpec(2, repeat=2, states=[StateSpec(3), StateSpec(1, normalise=False)])
    assert (spec.width, spec.parts, spec.whole) == (4, [4, 3, 1], 8)
    data = 3 + 2 * randn(40, 5, 8)
    spec.fit(data)
    found = spec(data)
    for part in (found[..., :4].reshape(-1, 2), found[..., 4:7].reshape(-1, 3)):
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(part.shape[1]), atol=1e-4, rtol=0)
    assert torch.equal(found[..., 7], data[..., 7])
    assert torch.equal(spec.low, data[..., :4].reshape(-1, 2).amin(0))
    plain = ActionSpec(2, normalise=False)
    plain.fit(data[..., :2])
    assert torch.equal(plain(data[..., :2]), data[..., :2])


def test_of_actions_that_are_skipped_each_moves_the_state() -> None:
    spec = ActionSpec(2, repeat=3, states=[StateSpec(2, Add(0.5)), StateSpec(1)])
    state, acting = randn(4, 3), randn(4, 6, seed=1)
    found = spec.after(state, acting)
    torch.testing.assert_close(found[:, :2], state[:, :2] + 0.5 * acting.view(4, 3, 2).sum(1))
    assert torch.equal(found[:, 2], state[:, 2])


def test_a_condition_of_another_width_is_told() -> None:
    told = r"4 numbers a step, but the model expects 2 = 2 x 1 \(.*\); data.proprioception=false leaves out"
    with pytest.raises(UserError, match=told):
        ActionSpec(2)(randn(3, 4))
    told = r"2 numbers a step, but the model expects 5 = 2 x 1 \(.*\) \+ 3 of a state \(modality.state_dim\); "
    with pytest.raises(UserError, match=told + "data.proprioception=true adds"):
        ActionSpec(2, states=[StateSpec(3)])(randn(3, 2))


def test_inverse_dynamics_asks_for_the_actions_alone() -> None:
    torch.manual_seed(0)
    plain = InverseDynamics(4, ActionSpec(2))
    torch.manual_seed(0)
    other = InverseDynamics(4, ActionSpec(2, states=[StateSpec(3)]))
    pos = Grid(6).pos().expand(2, -1, -1)
    target, acts = Tokens(randn(2, 1, 6, 4), pos[:, None]), randn(2, 5, 2, seed=1)
    wide = Tokens(torch.cat([acts, randn(2, 5, 3, seed=2)], -1), pos[:, :5])
    assert other(target, target, target, wide) == plain(target, target, target, Tokens(acts, pos[:, :5]))


def test_every_part_of_the_condition_has_influence_and_a_token() -> None:
    torch.manual_seed(0)
    spec = ActionSpec(2, states=[StateSpec(3), StateSpec(4)])
    model = CausalViT(5, 24, 2, 2, init="xavier", actions=spec).eval()
    assert [layer.in_features for layer in model.state_encoders] == [3, 4]  # type: ignore[union-attr]
    frames, pos, acting = randn(2, 3, 4, 5), Grid(1, 2, 2).pos()[:, 1:], randn(2, 3, 9, seed=1)
    before = model.ahead(frames, pos, acting, 3)
    for part in (slice(0, 2), slice(2, 5), slice(5, 9)):
        other = acting.clone()
        other[:, 1, part] += 1
        after = model.ahead(frames, pos, other, 3)
        assert torch.equal(before[:, 0], after[:, 0])
        assert float((before - after)[:, 1:].detach().abs().amin((0, 2, 3)).min()) > 0


def test_frames_of_other_sizes_are_stretched_to_the_lattice() -> None:
    """Every second row and column of a fine frame is asked about as all of a coarse one of half its size."""
    torch.manual_seed(0)
    model = CausalViT(5, 24, 1, 2, init="xavier", lattice=4).eval()
    plain = CausalViT(5, 24, 1, 2, init="xavier").eval()
    plain.load_state_dict(model.state_dict())
    frames, nobody = randn(2, 2, 4, 5), torch.zeros(2, 2, 0)
    coarse = Grid(1, 2, 2).pos()[:, 1:]
    assert torch.equal(model.ahead(frames, coarse, nobody, 2), plain.ahead(frames, 2 * coarse, nobody, 2))
    with pytest.raises(UserError, match="lattice must be at least 1, not 0"):
        CausalViT(5, 24, 1, 2, lattice=0)


# --- data ---------------------------------------------------------------------------------------------------------------


def counted(frames: int, body: bool = True) -> Episode:
    """Frame t shows the number t, its state is -t, action t says 1000 + t."""
    numbers = np.arange(frames, dtype=np.float32)
    return Episode(numbers[:, None], 1000 + numbers[:-1, None], -numbers[:, None] if body else None)


def test_a_state_stands_behind_the_actions_that_leave_its_frame(tmp_path: Path) -> None:
    windows = Windows(InMemory([counted(9)]), 2, 1, skip=2, proprioception=True)
    assert windows.observe(1).cond.x.tolist() == [[1001, 1002, -1], [1003, 1004, -3]]
    assert windows.fingerprint() != Windows(windows.episodes, 2, 1, skip=2).fingerprint()
    write_npz(tmp_path / "0.npz", counted(9))
    there = EpisodeFolder(str(tmp_path), 2, 1, 2, proprioception=True).train()
    assert torch.equal(there.observe(1).cond.x, windows.observe(1).cond.x)
    both = Windows(windows.episodes, 2, 1, observe="proprioception", proprioception=True).observe(0)
    assert both.obs[:, 0].tolist() == [0, -1, -2]
    assert both.cond.x.tolist() == [[1000, 0], [1001, -1]]
    rooms = Rooms(view="state", episodes=2, steps=4, horizon=2, proprioception=True).train().observe(0)
    assert torch.equal(rooms.cond.x[:, 2:], rooms.obs[:-1])


def test_states_that_are_not_there_or_not_finite_are_told() -> None:
    with pytest.raises(UserError, match=r"data\.proprioception=true, but the episodes hold none"):
        Windows(InMemory([counted(9, body=False)]), 1, 1, proprioception=True)
    spoilt = counted(9)
    assert spoilt.proprioception is not None
    spoilt.proprioception[3] = np.nan
    windows = Windows(InMemory([spoilt]), 1, 1, proprioception=True)
    windows.observe(0)
    with pytest.raises(Unreadable, match="not finite"):
        windows.observe(3)


# --- imagining and acting -----------------------------------------------------------------------------------------------


class Told(Dynamics):
    """The next frame shows the state that it is told of, moved by what acts: frames themselves are not looked at."""

    def __init__(self, follows: Follows, history: int = 1) -> None:
        super().__init__(2, history, ActionSpec(2, low=[-1, -1], high=[1, 1], states=[StateSpec(2, follows)]))
        self.seen: list[int] = []

    def ahead(self, frames: Tensor, pos: Tensor, acting: Tensor, answers: int) -> Tensor:
        self.seen.append(frames.shape[1])
        return (acting[..., 2:] + 0.05 * acting[..., :2])[:, -answers:, None]


@pytest.mark.parametrize("history", [1, 3])
def test_rollouts_tell_the_states_that_follow(history: int) -> None:
    model, actions = WorldModel(Positions(), Told(Add(0.05), history)), 2 * torch.rand(2, 5, 7, 2) - 1
    assert model.states == 2
    obs = randn(2, 4, 2)
    past = randn(2, 3, 2, seed=3)
    known = randn(2, 4, 2, seed=4)
    imagined = model.rollout(model.encode(obs, known), actions, past)
    wanted = known[:, -1, None, None] + 0.05 * actions.cumsum(2)
    torch.testing.assert_close(imagined.states[:, :, :, 0], wanted, atol=1e-6, rtol=0)
    held = WorldModel(Positions(), Told(Hold(), history))
    still = held.rollout(held.encode(obs, known), actions, past).states[:, :, :, 0]
    torch.testing.assert_close(still, known[:, -1, None, None] + 0.05 * actions, atol=1e-6, rtol=0)
    one = model.predict(model.encode(obs, known), torch.cat([past, actions[:, 0, :1]], 1))
    torch.testing.assert_close(one, imagined.states[:, 0, 0])
    apart = model.energy(obs, imagined.states[:, 0, :2, 0], torch.cat([past, actions[:, 0, :2]], 1), known)
    torch.testing.assert_close(apart, torch.zeros(2), atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="must be told 2 numbers of the state with every frame, not 3"):
        model.rollout(model.encode(obs, randn(2, 4, 3)), actions, past)


def test_an_ensemble_agrees_on_its_conditions() -> None:
    with pytest.raises(UserError, match=r"actions of different widths: \[2, 4\]"):
        WorldModel(Positions(), [Told(Hold()), ResidualMLP(2, 8, actions=ActionSpec(2))])


def test_an_agent_is_told_where_it_is() -> None:
    """The model sees nothing but the state, so the goals are reached only if the state is told and moved right."""
    tasks = [Task(seed, (0.3, 0.3), (0.6, 0.5 + 0.1 * seed)) for seed in range(3)]
    cem, box = CEM(64, 4, 8), Box(LOW, HIGH)

    def solved(follows: Follows, history: int = 1) -> Any:
        model = WorldModel(Positions(), Told(follows, history))
        return carry_out(empty(), Agent(model, cem, LatentDistance(), box, 8, 2), tasks, 25).solved.tolist()

    assert solved(Add(0.05)) == [True] * 3
    assert solved(Add(0.05), history=3) == [True] * 3
    world = empty()
    agent = Agent(WorldModel(Positions(), Told(Hold())), cem, LatentDistance(), box)
    obs = world.begin(tasks)
    agent.begin(tasks, obs, obs)
    with pytest.raises(UserError, match="must be told 2 numbers of the state"):
        agent.act(obs)


# --- from end to end ----------------------------------------------------------------------------------------------------


def test_a_world_of_tokens_and_states_is_trained_and_plans(tmp_path: Path) -> None:
    words = [
        *("modality=trajectory", "method=vjepa2_ac", "arch=ac_tiny_frames", "data.proprioception=true"),
        *("data.size=16", "data.episodes=20", "data.steps=12", "data.horizon=4", "arch.dim=24", "predictor.history=3"),
        *("modality.follows={_target_: worldjepa.nn.states.Add, scale: 0.05}", "run.batch_size=8", "run.steps=4"),
        *("arch.encoder.encoder.depth=1", "arch.encoder.encoder.heads=2", "arch.predictor.dim=24"),
        *("arch.predictor.depth=1", "arch.predictor.heads=2", "run.threads=1", "run.accelerator=cpu"),
        *("run.tensorboard=false", "probe.enabled=false", f"run.out={tmp_path / 'run'}"),
    ]
    assert main(["train", *words]) == 0
    planned = [
        *("tasks=near", "count=3", "budget=6", "samples=8", "iterations=2", "horizon=3", "execute=2", "threads=1"),
        f"out={tmp_path / 'plan'}",
    ]
    assert main(["plan", f"checkpoint={tmp_path / 'run'}", *planned]) == 0
    found = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert set(found["open_loop_error"]) == {"10", "30", "60"}
    assert found["actors"]["planned (cem)"]["evaluations"] > 0
