"""The policy of modes 1 and 2, and the configurator that chooses between them, in a world that is understood exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from world.exact import HIGH, LOW, Adding, Positions, empty, exact
from worldjepa.errors import UserError
from worldjepa.world.agent import Agent, Reactive, Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.configurator import Configuration, Configurator, RuleConfigurator, Situation
from worldjepa.world.costs import LatentDistance, WeightedSum
from worldjepa.world.intrinsic import ActionPenalty
from worldjepa.world.memory import ShortTermMemory
from worldjepa.world.model import Frames, WorldModel
from worldjepa.world.planners import CEM, MPPI, Gradient, Question, RandomShooting
from worldjepa.world.policy import Lessons, Policy, executed
from worldjepa.world.spaces import Box
from worldjepa.world.trial import carry_out

BOX = Box(LOW, HIGH)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent(**settings: Any) -> Agent:
    planner = settings.pop("planner", CEM(48, 3, 6))
    cost = settings.pop("cost", LatentDistance())
    return Agent(exact(), planner, cost, BOX, **{"horizon": 8, "execute": 2, "remember": 40, **settings})


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Distilled from what an agent planned and did in 32 tasks."""
    env, teacher = empty(), agent()
    carry_out(env, teacher, env.tasks("any", 32, seed=1), 24, whole=True)
    torch.manual_seed(0)
    policy = Policy(2, LOW, HIGH, 64)
    losses = policy.distill(executed(teacher.memory, teacher.goal), rng(), steps=400, batch=128, lr=5e-3)
    assert sum(losses[-20:]) < sum(losses[:20])
    return policy.requires_grad_(False)


def test_a_distilled_policy_reaches_goals_at_once(policy: Policy) -> None:
    env = empty()
    tasks = env.tasks("near", 48, seed=9)
    at_once = carry_out(env, Reactive(exact(), policy), tasks, 15)
    chance = carry_out(env, Wanderer(Wander(), env.low, env.high, 15), tasks, 15)
    torch.manual_seed(1)
    untaught = carry_out(env, Reactive(exact(), Policy(2, LOW, HIGH, 64)), tasks, 15)
    assert at_once.solved.mean() > 0.9
    assert chance.solved.mean() < 0.5
    assert untaught.solved.mean() < 0.5
    assert (at_once.evaluations == 0).all()


def far(b: int = 16) -> Question:
    start = torch.rand(b, 1, 1, 2, generator=rng(3))
    return Question(Frames(start, torch.zeros(1, 2)), torch.rand(b, 1, 2, generator=rng(4)), 10)


def test_proposals_save_evaluations(policy: Policy) -> None:
    """A search that begins with proposals is, after one iteration, better than one without after six."""
    asked, model, cost = far(), exact(), LatentDistance()
    plain = CEM(64, 6, 8).plan(model, asked, cost, BOX, rng())
    made = policy.propose(model, asked.history, asked.goal, 8, asked.horizon, rng())
    begun = CEM(64, 1, 8).plan(model, asked._replace(proposals=made.actions), cost, BOX, rng())
    assert made.evaluations + begun.evaluations < 0.3 * plain.evaluations
    assert float(begun.cost.mean()) < float(plain.cost.mean())


@pytest.mark.parametrize("planner", [RandomShooting(16), CEM(16, 2, 4), MPPI(16, 2), Gradient(6, 3)])
def test_the_best_proposal_is_never_made_worse(planner: Any, policy: Policy) -> None:
    asked, model, cost = far(4), exact(), LatentDistance()
    made = policy.propose(model, asked.history, asked.goal, 5, asked.horizon, rng()).actions
    known = cost(model.rollout(asked.history, made), asked.goal).amin(1)
    warm = torch.zeros(4, 10, 2)
    plan = planner.plan(model, asked._replace(proposals=made, warm=warm), cost, BOX, rng())
    assert bool((plan.cost <= known + 1e-6).all())
    with pytest.raises(UserError, match="17 plans to begin with do not fit among 16 samples"):
        CEM(16, 2, 4).plan(model, asked._replace(proposals=torch.zeros(4, 16, 10, 2), warm=warm), cost, BOX, rng())


def test_proposals_follow_the_policy_in_imagination(policy: Policy) -> None:
    model = WorldModel(Positions(), Adding(history=2))
    history = Frames(torch.rand(3, 2, 1, 2, generator=rng(5)), torch.zeros(1, 2))
    goal, past = torch.rand(3, 1, 2, generator=rng(6)), torch.ones(3, 1, 2)
    made = policy.propose(model, history, goal, 3, 4, rng(), past)
    assert made.actions.shape == (3, 3, 4, 2)
    assert made.evaluations == 3 * 3
    assert bool(((made.actions >= LOW) & (made.actions <= HIGH)).all())
    here = history.x[:, -1]
    for step in range(4):
        mean = policy(here, goal).mean
        assert torch.allclose(made.actions[:, 0, step], mean, atol=1e-5)
        here = here + 0.05 * mean[:, None]
    assert not torch.allclose(made.actions[:, 1], made.actions[:, 2])


def test_a_policy_learns_how_sure_it_may_be() -> None:
    """Where one thing was always done it is sure, where anything was done it is not."""
    torch.manual_seed(0)
    states = torch.randint(2, (2_000, 1, 1), generator=rng()).float()
    noise = 0.6 * (2 * torch.rand(2_000, 1, generator=rng(1)) - 1)
    lessons = Lessons(states, torch.zeros_like(states), 0.3 + states[:, 0] * noise)
    policy = Policy(1, -torch.ones(1), torch.ones(1), 16)
    policy.distill(lessons, rng(2), steps=400, batch=128, lr=1e-2)
    with torch.no_grad():
        sure, unsure = (policy(torch.full((1, 1, 1), value), torch.zeros(1, 1, 1)) for value in (0.0, 1.0))
    assert float(sure.mean) == pytest.approx(0.3, abs=0.05)
    assert float(sure.std) < 0.06
    assert float(unsure.std) == pytest.approx(0.6 / 3**0.5, rel=0.25)
    with pytest.raises(UserError, match="lessons=0"):
        policy.distill(Lessons(states[:0], states[:0], noise[:0]), rng())
    with pytest.raises(UserError, match="low < high"):
        Policy(1, torch.ones(1), -torch.ones(1))


def test_lessons_pair_states_with_what_left_them() -> None:
    memory = ShortTermMemory(3)
    states, actions = torch.randn(4, 2, 1, 3, generator=rng()), torch.randn(3, 2, 2, generator=rng(1))
    memory.write(states[0])
    goal = torch.randn(2, 1, 3, generator=rng(2))
    with pytest.raises(UserError, match="nothing was done yet"):
        executed(memory, goal)
    for time in range(3):
        memory.write(states[time + 1], actions[time])
    lessons = executed(memory, goal)
    for row in range(4):
        task, time = divmod(row, 2)
        assert torch.equal(lessons.states[row], states[1 + time, task])
        assert torch.equal(lessons.actions[row], actions[1 + time, task])
        assert torch.equal(lessons.goals[row], goal[task])


def test_an_agent_with_proposals_needs_fewer_evaluations(policy: Policy) -> None:
    env = empty()
    tasks = env.tasks("any", 16, seed=4)
    plain = carry_out(env, agent(), tasks, 60)
    helped = carry_out(env, agent(planner=CEM(12, 1, 4), policy=policy, proposals=4), tasks, 60)
    assert helped.solved.all()
    assert helped.first.mean() <= 1.1 * plain.first.mean()
    per_plan = 12 * 8 + 4 * 7
    assert np.allclose(helped.evaluations, per_plan * np.ceil(helped.first / 2))
    assert helped.evaluations.mean() < 0.2 * plain.evaluations.mean()


# --- the configurator ------------------------------------------------------------------------------------------------


def met(*distances: list[float]) -> Situation:
    """For each moment the distances of all tasks to their goals, which lie at zero."""
    memory = ShortTermMemory(20)
    for number, moment in enumerate(distances):
        state = torch.tensor(moment).sqrt().view(-1, 1, 1)
        memory.write(state, torch.zeros(len(moment), 1) if number else None)
    return Situation(memory, torch.zeros(len(distances[0]), 1, 1), None)


def test_rules_choose_by_distance_progress_and_time() -> None:
    usual, thorough = CEM(16, 2, 4), CEM(64, 4, 8)
    rules = RuleConfigurator(
        usual, 10, near=0.5, patience=2, progress=0.1, thorough=thorough, weights=[1, 2], stuck_weights=[1, 0]
    )
    # Near; far and getting there; far and stuck; near and stuck.
    early = met([0.4, 4.0, 4.0, 0.4])
    late = met([0.9, 5.0, 4.0, 0.4], [0.6, 4.5, 4.0, 0.4], [0.4, 4.0, 3.9, 0.4])
    assert [one.planner for one in rules.configure(early)] == [None, usual, usual, None]
    assert [one.planner for one in rules.configure(late)] == [None, usual, thorough, thorough]
    assert [one.weights for one in rules.configure(late)] == [(1, 2), (1, 2), (1, 0), (1, 0)]
    assert {one.horizon for one in rules.configure(late._replace(left=30))} == {10}
    assert {one.horizon for one in rules.configure(late._replace(left=3))} == {3}
    for settings, message in (({"near": -1.0}, "near=-1.0"), ({"patience": 0}, "patience=0")):
        with pytest.raises(UserError, match=message):
            RuleConfigurator(usual, **settings)  # type: ignore[arg-type]


def test_rules_that_never_apply_change_nothing() -> None:
    env = empty()
    tasks = env.tasks("any", 5, seed=7)
    plain = agent()
    ruled = agent(configurator=RuleConfigurator(plain.planner, 8, progress=0.0, patience=39))
    outcomes = [carry_out(env, one, tasks, 20, whole=True) for one in (plain, ruled)]
    assert np.array_equal(outcomes[0].path, outcomes[1].path)
    assert np.array_equal(outcomes[0].evaluations, outcomes[1].evaluations)
    assert all(torch.equal(a.actions, b.actions) for a, b in zip(plain.plans, ruled.plans, strict=True))


def test_the_policy_acts_near_the_goal_and_plans_are_made_elsewhere(policy: Policy) -> None:
    env = empty()
    tasks = env.tasks("any", 16, seed=8)
    near = 0.3**2 / 2  # 0.3 away, as a mean over two numbers
    rules = RuleConfigurator(CEM(48, 3, 6), 8, near=near, patience=30)
    mixed = agent(configurator=rules, policy=policy, budget=60)
    outcome = carry_out(env, mixed, tasks, 60)
    plain = carry_out(env, agent(), tasks, 60)
    assert outcome.solved.all()
    apart = np.linalg.norm([np.subtract(task.goal, task.start) for task in tasks], axis=-1)
    assert (outcome.evaluations[apart < 0.3] == 0).all()
    assert (outcome.evaluations[apart > 0.45] > 0).all()
    assert outcome.evaluations.mean() < 0.8 * plain.evaluations.mean()
    first = mixed.plans[0]
    assert np.array_equal(first.cost.isnan().numpy(), apart < 0.3)
    assert first.actions.shape == (16, 8, 2)


class Halves(Configurator):
    """One half of the tasks is searched long, the other short; weights go along."""

    def configure(self, situation: Situation) -> list[Configuration]:
        far_ahead = Configuration(CEM(48, 3, 6), 8, (1.0, 0.0))
        return [far_ahead, Configuration(CEM(24, 2, 4), 1, (0.0, 1.0))] * 2


def test_tasks_are_planned_in_groups() -> None:
    env = empty()
    tasks = env.tasks("any", 4, seed=11)
    cost = WeightedSum([LatentDistance(), ActionPenalty()], [1.0, 1.0])
    one = agent(configurator=Halves(), cost=cost, execute=2)
    outcome = carry_out(env, one, tasks, 4, whole=True)
    assert outcome.evaluations.tolist() == [48 * 3 * 8 * 2, 24 * 2 * 2] * 2
    plan: Tensor = one.plans[0].actions
    # Those to whom only rest matters hold still, and a plan of one step goes on with it.
    assert float(plan[1::2].abs().max()) < 0.35 < float(plan[::2].abs().max())
    assert torch.equal(plan[1::2, 0], plan[1::2, 7])
    moved = np.linalg.norm(outcome.path[:, 4] - outcome.path[:, 0], axis=-1)
    assert moved[::2].min() > moved[1::2].max()


def test_what_an_agent_lacks_is_named() -> None:
    env = empty()
    tasks = env.tasks("any", 4, seed=11)
    always = RuleConfigurator(CEM(16, 2, 4), near=9.0)
    for make, message in (
        (lambda: agent(proposals=3), "proposals=3"),
        (lambda: carry_out(env, agent(configurator=always), tasks, 1), "needs a policy"),
        (lambda: carry_out(env, agent(configurator=Halves()), tasks, 1), "not for a LatentDistance"),
        (lambda: carry_out(env, agent(configurator=always, remember=8), tasks, 1), "remembers 9 states or more, not 8"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_the_page_about_agents_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "world-models.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page.partition("## Agent")[2].partition("\n## ")[0], re.DOTALL)
    env = empty()
    names: dict[str, Any] = {
        "model": exact(),
        "environment": env,
        "tasks": env.tasks("any", 12, seed=12),
        "rng": rng(),
        "low": LOW,
        "high": HIGH,
    }
    torch.manual_seed(0)
    exec(block, names)
    assert names["at_once"].solved.mean() > 0.5
    assert names["both"].solved.all()
