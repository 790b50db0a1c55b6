"""Costs that are built in and the critic that learns them, against values that are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from world.exact import HIGH, LOW, exact
from worldjepa.errors import UserError
from worldjepa.world.costs import LatentDistance, WeightedSum
from worldjepa.world.critic import Critic, returns
from worldjepa.world.intrinsic import ActionPenalty, Constraint, IntrinsicCost
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.model import Frames, Rollout
from worldjepa.world.planners import CEM, Question
from worldjepa.world.spaces import Box


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def along(xs: list[float], acts: list[float]) -> Rollout:
    states = torch.tensor(xs).view(1, 1, -1, 1, 1)
    return Rollout(states, torch.tensor(acts).view(1, 1, -1, 1), None, 0)


GOAL = torch.zeros(1, 1, 1)


def test_acting_costs_its_mean_square() -> None:
    imagined = along([0.0, 0.0], [3.0, 1.0])
    assert float(ActionPenalty()(imagined, GOAL)) == 5.0
    assert float(ActionPenalty(torch.tensor([2.0]))(imagined, GOAL)) == 1.25
    with pytest.raises(UserError, match="must be positive"):
        ActionPenalty(0.0)


def test_only_what_exceeds_a_bound_costs() -> None:
    bound = Constraint(lambda imagined: imagined.states[..., 0, 0] - 1.0)
    assert float(bound(along([0.0, 1.0], [0, 0]), GOAL)) == 0.0
    assert float(bound(along([-9.0, 2.5], [0, 0]), GOAL)) == 0.75


def test_a_plan_keeps_its_bounds() -> None:
    """On the way to the goal a wall stands that may not be passed."""
    asked = Question(Frames(torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, 2)), torch.tensor([[[0.7, 0.5]]]), 6)
    wall = Constraint(lambda imagined: imagined.states[..., 0, 0] - 0.6)
    free, bound = (
        CEM(64, 6, 8).plan(exact(), asked, WeightedSum([LatentDistance(), wall], [1.0, weight]), Box(LOW, HIGH), rng())
        for weight in (0.0, 100.0)
    )
    assert float(free.states[0, :, 0, 0].max()) > 0.65
    assert 0.57 < float(bound.states[0, :, 0, 0].max()) < 0.605


def test_an_intrinsic_cost_cannot_be_changed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(-2), nn.Dropout(0.5), nn.Linear(2, 1), nn.Flatten(-2))
    cost = IntrinsicCost(net).train().requires_grad_()
    states = torch.randn(3, 4, 5, 1, 2, generator=rng()).requires_grad_()
    imagined, goal = Rollout(states, torch.zeros(3, 4, 5, 2), None, 0), torch.zeros(3, 1, 2)
    before = cost(imagined, goal)
    with torch.no_grad():
        net[2].weight.fill_(7.0)  # type: ignore[operator, union-attr]
    after = cost(imagined, goal)
    assert before.shape == (3, 4)
    assert torch.equal(before, after)
    after.sum().backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert float(states.grad.abs().min()) > 0
    assert not any(parameter.requires_grad for parameter in cost.parameters())


# --- the critic ------------------------------------------------------------------------------------------------------

PLACES, DISCOUNT = 5, 0.8


def chain(episodes: int, steps: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Walks to the right with chance 0.7 and otherwise to the left, on five places; being at the last one costs 1.

    Returns:
        Where the walks were, one-hot; what that cost; the true values.
    """
    chances = torch.zeros(PLACES, PLACES, dtype=torch.float64)
    for place in range(PLACES):
        chances[place, min(place + 1, PLACES - 1)] += 0.7
        chances[place, max(place - 1, 0)] += 0.3
    generator = rng(seed)
    where = [torch.randint(PLACES, (episodes,), generator=generator)]
    for _ in range(steps):
        where.append(torch.multinomial(chances[where[-1]], 1, generator=generator)[:, 0])
    places = torch.stack(where, 1)
    cost = torch.zeros(PLACES, dtype=torch.float64)
    cost[-1] = 1.0
    # What comes after: v = P (c + discount v).
    values = torch.linalg.solve(torch.eye(PLACES) - DISCOUNT * chances, chances @ cost)
    return torch.eye(PLACES)[places][:, :, None], (places == PLACES - 1).float(), values.float()


@pytest.mark.parametrize("trace", [0.0, 0.9, 1.0], ids=["td", "between", "monte_carlo"])
def test_a_critic_learns_from_memory_what_a_chain_will_cost(trace: float) -> None:
    torch.manual_seed(0)
    met, cost, values = chain(300, 20)
    memory = ShortTermMemory(21)
    for time in range(21):
        memory.write(met[:, time], torch.zeros(300, 1) if time else None, cost[:, time])
    (states, _), costs = memory.context(21), memory.costs()
    critic = Critic(PLACES, 32, DISCOUNT)
    untrained = (critic.value(torch.eye(PLACES)[:, None]) - values).abs().max()
    critic.fit(states, costs, rng(1), steps=400, batch=64, trace=trace, follow=0.1, lr=5e-3)
    apart = (critic.value(torch.eye(PLACES)[:, None]) - values).abs().max()
    assert float(untrained.detach()) > 1.0
    assert float(apart.detach()) < 0.12


def test_after_the_end_nothing_costs() -> None:
    torch.manual_seed(0)
    states = torch.eye(3)[None, :, None].expand(4, -1, -1, -1)
    costs = torch.tensor([0.0, 1.0, 2.0]).expand(4, -1)
    critic = Critic(3, 16, 0.5)
    critic.fit(states, costs, rng(), torch.ones(4, dtype=torch.bool), steps=300, trace=0.0, follow=0.2, lr=1e-2)
    assert torch.allclose(critic.value(torch.eye(3)[:2, None]), torch.tensor([1 + 0.5 * 2, 2.0]), atol=0.02)


def literal(values: Any, costs: Any, ended: bool, discount: float, trace: float, time: int) -> float:
    """The return of a state by its definition, for one episode."""
    last = len(values) - 1
    if time == last:
        return 0.0 if ended else float(values[last])
    beyond = literal(values, costs, ended, discount, trace, time + 1)
    value = beyond if time + 1 == last else values[time + 1]
    return float(costs[time + 1] + discount * ((1 - trace) * value + trace * beyond))


@pytest.mark.parametrize("trace", [0.0, 0.4, 1.0])
def test_returns_are_those_of_the_definition(trace: float) -> None:
    values, costs = torch.randn(3, 6, generator=rng()), torch.randn(3, 6, generator=rng(1))
    ended = torch.tensor([True, False, True])
    found = returns(values, costs, ended, 0.9, trace)
    expected = [[literal(values[e], costs[e], bool(ended[e]), 0.9, trace, time) for time in range(5)] for e in range(3)]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)


def test_a_critic_judges_where_a_plan_ends() -> None:
    torch.manual_seed(0)
    critic, states = Critic(2), torch.randn(2, 3, 4, 1, 2, generator=rng())
    told = critic(Rollout(states, torch.zeros(2, 3, 4, 2), None, 0), torch.zeros(2, 1, 2))
    assert torch.allclose(told, critic.value(states[:, :, -1]), atol=1e-6)
    for make, message in (
        (lambda: Critic(2, discount=1.0), "discount must be in"),
        (lambda: critic.fit(states[0, :, :1], torch.zeros(3, 1), rng()), "states=1"),
        (lambda: critic.fit(states[0], torch.zeros(3, 4), rng(), trace=2.0), "trace=2.0"),
    ):
        with pytest.raises(UserError, match=message):
            make()
