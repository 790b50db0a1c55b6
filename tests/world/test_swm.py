"""Our model behind stable-worldmodel's protocols and its worlds as our environment, against stand-ins with its signatures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest
import torch

from world.exact import Adding, Positions, exact
from worldjepa.errors import UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import LatentDistance, Uncertainty
from worldjepa.world.model import WorldModel
from worldjepa.world.record import record, seeds_of
from worldjepa.world.swm_model import SWMModel
from worldjepa.world.swm_worlds import SWMWorlds

# --- the model -------------------------------------------------------------------------------------------------------


@runtime_checkable
class Dynamics(Protocol):
    def encode(self, x: dict[str, Any]) -> dict[str, Any]: ...
    def rollout(self, info_dict: dict[str, Any], action_candidates: torch.Tensor) -> dict[str, Any]: ...


@runtime_checkable
class Costable(Protocol):
    def criterion(self, info_dict: dict[str, Any], action_candidates: torch.Tensor) -> torch.Tensor: ...
    def get_cost(self, info_dict: dict[str, Any], action_candidates: torch.Tensor) -> torch.Tensor: ...


def adapted(**settings: Any) -> SWMModel:
    return SWMModel(exact(), LatentDistance("l2", "last"), **{"key": "state", **settings})


def expanded(samples: int = 5, **more: Any) -> dict[str, Any]:
    """What a solver hands over: every array repeated for each candidate, and things that are no tensors."""
    info = {
        "state": torch.tensor([[[0.5, 0.5]], [[0.2, 0.8]]]),
        "goal_state": torch.tensor([[[0.7, 0.5]], [[0.2, 0.6]]]),
    }
    every = {key: value[:, None].expand(-1, samples, -1, -1) for key, value in {**info, **more}.items()}
    return {**every, "name": np.array(["a", "b"])}


def test_it_is_what_solvers_ask_for() -> None:
    model = adapted()
    assert isinstance(model, Dynamics)
    assert isinstance(model, Costable)
    assert model.encode({"state": torch.rand(3, 4, 2)})["emb"].shape == (3, 4, 2)


def test_what_is_imagined_begins_with_what_was_seen() -> None:
    model, actions = adapted(), 2 * torch.rand(2, 5, 6, 2) - 1
    info = model.rollout(expanded(), actions)
    assert info["predicted_emb"].shape == (2, 5, 1 + 6, 2)
    start = expanded()["state"]
    assert torch.equal(info["predicted_emb"][:, :, :1], start)
    assert torch.allclose(info["predicted_emb"][:, :, 1:], start + 0.05 * actions.cumsum(2), atol=1e-6)
    assert info["emb"].shape == (2, 5, 1, 2)


def test_costs_are_those_of_our_own_rollout() -> None:
    model, actions = adapted(), 2 * torch.rand(2, 5, 6, 2) - 1
    info = expanded()
    costs = model.get_cost(info, actions)
    end = info["state"][:, :, 0] + 0.05 * actions.sum(2)
    assert torch.allclose(costs, (end - info["goal_state"][:, :, 0]).square().mean(-1), atol=1e-6)
    assert torch.equal(model.criterion(info, actions), costs)
    # Their own cost, last-step squared error summed, puts the candidates in the same order.
    theirs = (info["predicted_emb"][:, :, -1] - info["goal_emb"][:, None, -1]).square().sum(-1)
    assert torch.equal(theirs.argsort(1), costs.argsort(1))


def test_a_solver_that_draws_normal_numbers_finds_the_way() -> None:
    """The loop of a cross-entropy solver, which knows of the model no more than `get_cost`."""
    model, rng = adapted(), torch.Generator().manual_seed(0)
    mean, deviation = torch.zeros(2, 6, 2), torch.ones(2, 6, 2)
    for _ in range(12):
        candidates = mean[:, None] + deviation[:, None] * torch.randn(2, 64, 6, 2, generator=rng)
        costs = model.get_cost(expanded(64), candidates)
        assert costs.shape == (2, 64)
        best = candidates[torch.arange(2)[:, None], costs.topk(8, 1, largest=False).indices]
        mean, deviation = best.mean(1), best.std(1)
    end = expanded(1)["state"][:, 0, 0] + 0.05 * mean.sum(1)
    assert torch.allclose(end, expanded(1)["goal_state"][:, 0, 0], atol=0.02)


def test_their_way_of_encoding_a_goal_works() -> None:
    """The goal takes the place of what is observed, everything else is taken from the first candidate."""
    info = expanded(key=torch.zeros(2, 1, 1))
    goal = {name: value[:, 0] for name, value in info.items() if torch.is_tensor(value)}
    goal["state"] = goal["goal_state"]
    assert torch.equal(adapted().encode(goal)["emb"], info["goal_state"][:, 0])


def test_several_frames_come_with_the_actions_between_them() -> None:
    model = SWMModel(WorldModel(Positions(), Adding(history=3)), LatentDistance(), "state")
    info = expanded()
    info["state"] = torch.rand(2, 3, 2)[:, None].expand(-1, 5, -1, -1)
    with pytest.raises(
        UserError, match=r"3 frames need the 2 actions between them as info\['action_history'\], not none"
    ):
        model.rollout(dict(info), torch.zeros(2, 5, 4, 2))
    info["action_history"] = torch.ones(2, 5, 2, 2)
    done = model.rollout(info, torch.zeros(2, 5, 4, 2))
    assert done["predicted_emb"].shape == (2, 5, 3 + 4, 2)
    assert torch.allclose(done["predicted_emb"][:, :, 3:], info["state"][:, :, 2:].expand(-1, -1, 4, -1))
    info["action_history"] = torch.ones(2, 5, 3, 2)
    with pytest.raises(UserError, match="not 3"):
        model.rollout(info, torch.zeros(2, 5, 4, 2))


def test_scaled_actions_are_in_units_of_their_deviation() -> None:
    inner = exact()
    inner.actions.fit(torch.randn(100, 3, 2) * torch.tensor([2.0, 5.0]) + torch.tensor([1.0, -1.0]))
    cost, actions = LatentDistance(reduce="last"), torch.randn(2, 5, 3, 2)
    raw, scaled = SWMModel(inner, cost, "state"), SWMModel(inner, cost, "state", scaled=True)
    turned = torch.from_numpy(scaled.scaler().inverse_transform(actions.numpy())).float()
    assert torch.allclose(scaled.get_cost(expanded(), actions), raw.get_cost(expanded(), turned), atol=1e-5)
    assert np.allclose(scaled.scaler().transform(turned.numpy()), actions.numpy(), atol=1e-5)
    assert not torch.allclose(actions, turned)


def test_pictures_may_have_their_channels_last() -> None:
    class Corner(Positions):
        def forward(self, obs: Any, keep: Any = None) -> Any:
            return super().forward(obs[..., :2, 0, 0])

    model = SWMModel(WorldModel(Corner(), Adding()), LatentDistance())
    first = torch.randint(256, (2, 1, 3, 8, 6), dtype=torch.uint8)
    emb = model.encode({"pixels": first})["emb"]
    assert torch.equal(model.encode({"pixels": first.movedim(2, -1)})["emb"], emb)
    assert torch.equal(emb, first[..., :2, 0, 0].float())


def test_an_ensemble_tells_its_costs_how_little_it_knows() -> None:
    model = SWMModel(WorldModel(Positions(), [Adding(0.05), Adding(0.07)]), Uncertainty(), "state")
    costs = model.get_cost(expanded(), torch.stack([torch.zeros(2, 3, 2)] * 4 + [torch.ones(2, 3, 2)], 1))
    assert torch.equal(costs.argmax(1), torch.tensor([4, 4]))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="info has no 'pixels'; it has goal_state, name, state"):
        adapted(key="pixels").rollout(expanded(), torch.zeros(2, 5, 3, 2))
    info = expanded()
    del info["goal_state"]
    with pytest.raises(UserError, match="info has no 'goal_state'"):
        adapted().get_cost(info, torch.zeros(2, 5, 3, 2))


# --- the worlds ------------------------------------------------------------------------------------------------------


class Pool:
    """Environments of two numbers that actions are added to; `infos` is written over in place, as theirs is."""

    def __init__(self, count: int, end: int) -> None:
        self.num_envs, self.end = count, end
        self.single_action_space = SimpleNamespace(low=np.full(2, -1.0, np.float32), high=np.full(2, 1.0, np.float32))
        self.seeds: list[list[int]] = []

    def reset(self, seed: Any = None, options: Any = None, mask: Any = None) -> tuple[None, dict[str, Any]]:
        assert len(seed) == self.num_envs
        self.seeds.append(list(seed))
        self.place = np.array([np.random.default_rng(one).uniform(size=2) for one in seed])
        self.taken = np.zeros(self.num_envs, int)
        self.infos = {
            "pixels": np.zeros((self.num_envs, 1, 6, 8, 3), np.uint8),
            "state": np.zeros((self.num_envs, 1, 2)),
            "terminated": np.zeros((self.num_envs, 1), bool),
            "notes": [["text"]] * self.num_envs,
        }
        return None, self._told(np.ones(self.num_envs, bool))

    def _told(self, mask: Any) -> dict[str, Any]:
        self.infos["state"][mask, 0] = self.place[mask]
        self.infos["pixels"][mask, 0] = (100 * self.place[mask]).astype(np.uint8)[:, :1, None, None]
        return self.infos

    def step(self, actions: Any, mask: Any = None) -> tuple[Any, ...]:
        assert actions.shape == (self.num_envs, 2)
        mask = np.ones(self.num_envs, bool) if mask is None else mask
        self.place[mask] += actions[mask]
        self.taken[mask] += 1
        terminated = mask & (self.taken >= self.end + np.arange(self.num_envs))
        return None, np.zeros(self.num_envs), terminated, np.zeros(self.num_envs, bool), self._told(mask)


class World:
    """`World(env_name, num_envs, ...)`: a pool and a way to close it."""

    closed = 0

    def __init__(self, env_name: str, num_envs: int, end: int = 100) -> None:
        self.envs = Pool(num_envs, end)

    def close(self) -> None:
        World.closed += 1


def worlds(end: int = 100, **settings: Any) -> SWMWorlds:
    return SWMWorlds(lambda count: World("swm/Toy-v0", count, end=end), **settings)


def test_episodes_are_recorded_in_their_worlds() -> None:
    episodes = record(worlds(state_key="state"), Wander(), seeds_of(0, range(3)), 6)
    assert [episode.observations.shape for episode in episodes] == [(7, 3, 6, 8)] * 3
    for episode in episodes:
        assert episode.proprioception is not None
        assert np.allclose(np.diff(episode.proprioception, axis=0), episode.actions, atol=1e-5)
        assert np.array_equal(episode.observations[:, 0, 0, 0], (100 * episode.proprioception[:, 0]).astype(np.uint8))
    alone = record(worlds(state_key="state"), Wander(), seeds_of(0, range(2, 3)), 6)
    assert np.array_equal(alone[0].observations, episodes[2].observations)


def test_a_smaller_number_of_worlds_uses_those_that_are_there() -> None:
    env, before = worlds(state_key="state"), World.closed
    env.reset(seeds_of(0, range(4)))
    assert World.closed == before + 1  # the one that was made to ask for its actions
    first = env.reset(seeds_of(0, range(2)))
    assert len(first) == 2
    assert env.world.envs.num_envs == 4
    assert env.world.envs.seeds[-1] == [env.world.envs.seeds[0][i] for i in (0, 1, 1, 1)]
    env.step(np.ones((2, 2)))
    assert env.world.envs.taken.tolist() == [1, 1, 0, 0]


def test_worlds_that_have_ended_stand_still() -> None:
    env = worlds(end=2, state_key="state")
    env.reset(seeds_of(0, range(2)))
    states = [env.state()]
    for _ in range(4):
        env.step(np.full((2, 2), 0.5))
        states.append(env.state())
    assert env.ended().tolist() == [True, True]
    assert [len(np.unique(np.stack(states)[:, i, 0])) for i in range(2)] == [3, 4]
    episodes = record(worlds(end=2), Wander(), seeds_of(0, range(2)), 5)
    assert [len(episode.actions) for episode in episodes] == [2, 3]
    assert [episode.proprioception for episode in episodes] == [None, None]


def test_keys_and_actions_are_checked() -> None:
    with pytest.raises(UserError, match=r"key 'pixel' is not known.*did you mean 'pixels'"):
        worlds(key="pixel").reset(seeds_of(0, range(1)))

    def discrete(count: int) -> World:
        made = World("swm/Toy-v0", count)
        made.envs.single_action_space = SimpleNamespace(n=4)
        return made

    with pytest.raises(UserError, match="only boxes can be recorded"):
        SWMWorlds(discrete)
