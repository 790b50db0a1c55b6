"""Short-term memory, against lists that are kept by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from world.exact import HIGH, LOW, empty, exact
from worldjepa.errors import UserError
from worldjepa.world.agent import Agent
from worldjepa.world.costs import LatentDistance
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.planners import CEM
from worldjepa.world.spaces import Box
from worldjepa.world.trial import carry_out

B, N, D, W = 2, 3, 4, 2


def filled(capacity: int, moments: int) -> tuple[ShortTermMemory, Tensor, Tensor, Tensor]:
    """A memory, and all that was written to it: states, the actions between them, costs."""
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(B, moments, N, D, generator=rng)
    actions, costs = torch.randn(B, moments - 1, W, generator=rng), torch.randn(B, moments, generator=rng)
    memory = ShortTermMemory(capacity)
    for time in range(moments):
        memory.write(states[:, time], actions[:, time - 1] if time else None, costs[:, time])
    return memory, states, actions, costs


@pytest.mark.parametrize("moments", [1, 2, 5, 6, 13])
@pytest.mark.parametrize("n", [1, 3, 5, 9])
def test_the_context_is_the_end_of_what_was_written(moments: int, n: int) -> None:
    memory, states, actions, costs = filled(5, moments)
    count = min(n, 5, moments)
    seen, between = memory.context(n)
    assert len(memory) == min(5, moments)
    assert torch.equal(seen, states[:, moments - count :])
    assert torch.equal(memory.costs(), costs[:, -5:])
    if count == 1:
        assert between is None
    else:
        assert between is not None
        assert torch.equal(between, actions[:, moments - count :])


@pytest.mark.parametrize("moments", [4, 11])
def test_recalled_are_the_nearest_with_what_followed(moments: int) -> None:
    memory, states, actions, costs = filled(6, moments)
    query = torch.randn(B, N, D, generator=torch.Generator().manual_seed(1))
    found = memory.retrieve(query, 3, temperature=0.5)
    assert found.costs is not None
    for task in range(B):
        known = range(max(0, moments - 6), moments - 1)
        apart = {time: float((states[task, time] - query[task]).square().mean()) for time in known}
        nearest = sorted(apart, key=lambda time: apart[time])[:3]
        factors = torch.tensor([apart[time] for time in nearest]).div(-0.5).exp()
        assert torch.allclose(found.weights[task], factors / factors.sum(), atol=1e-6)
        for place, time in enumerate(nearest):
            assert torch.equal(found.states[task, place], states[task, time])
            assert torch.equal(found.actions[task, place], actions[task, time])
            assert torch.equal(found.following[task, place], states[task, time + 1])
            assert float(found.costs[task, place]) == float(costs[task, time + 1])
    # What was just met reminds of itself, unless it is the newest, after which nothing is known.
    assert torch.equal(memory.retrieve(states[:, -2], 1).states[:, 0], states[:, -2])
    assert not torch.equal(memory.retrieve(states[:, -1], 1).states[:, 0], states[:, -1])


def test_what_was_done_is_a_bank() -> None:
    memory, _, actions, _ = filled(6, 9)
    bank = memory.bank(3, tail=0.0)
    expected = {
        tuple(actions[task, first : first + 3].flatten().tolist()) for task in range(B) for first in range(3, 6)
    }
    assert {tuple(stretch.flatten().tolist()) for stretch in bank.stretches} == expected
    with pytest.raises(UserError, match="no stretch of 6 actions"):
        memory.bank(6)


def test_what_does_not_fit_is_refused() -> None:
    state, action, cost = torch.zeros(B, N, D), torch.zeros(B, W), torch.zeros(B)
    fresh = ShortTermMemory(3)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: fresh.context(1), "nothing was written"),
        (lambda: fresh.write(state, action), "every moment but the first"),
        (lambda: fresh.retrieve(state, 1), "0 are known"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    fresh.write(state)
    for call, message in (
        (lambda: fresh.write(state), "every moment but the first"),
        (lambda: fresh.write(state, action, cost), "of all moments or of none"),
        (fresh.costs, "no costs were written"),
        (lambda: ShortTermMemory(0), "at least 1 moment"),
        (lambda: Agent(exact(history=3), CEM(), LatentDistance(), Box(LOW, HIGH), remember=2), "at least the 3 frames"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("remember", [None, 4, 40])
def test_how_much_is_remembered_does_not_change_what_is_done(remember: int | None) -> None:
    env = empty()
    tasks = env.tasks("any", 3, seed=5)
    agents = [
        Agent(exact(history=3), CEM(24, 2, 4), LatentDistance(), Box(LOW, HIGH), 6, 2, remember=size)
        for size in (3, remember)
    ]
    paths = [carry_out(env, agent, tasks, 9, whole=True).path for agent in agents]
    assert (paths[0] == paths[1]).all()
    seen, _ = agents[1].memory.context(40)
    kept = min(remember or 3, 9)
    assert torch.allclose(seen[:, :, 0].double(), torch.from_numpy(paths[1][:, 9 - kept : 9]), atol=1e-6)
