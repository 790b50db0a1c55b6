"""World model, costs, planners and agents, in a world that is understood exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.trajectory.rooms import RoomsEnv
from world.exact import HIGH, LOW, Adding, Positions, Walled, empty, exact
from worldjepa.causal import CausalViT
from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.world.agent import Agent, Expert, Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import Cost, LatentDistance, Uncertainty, WeightedSum
from worldjepa.world.environment import Task
from worldjepa.world.model import Frames, Rollout, WorldModel
from worldjepa.world.planners import CEM, MPPI, Gradient, Planner, Question, RandomShooting
from worldjepa.world.reach import Reachability
from worldjepa.world.spaces import ActionSpace, Bank, Box, Gaussian
from worldjepa.world.tasks import TaskSet, check_tasks, read_tasks, write_tasks
from worldjepa.world.tree import Tree, farthest
from worldjepa.world.trial import carry_out, wilson

BOX = Box(LOW, HIGH)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def question(b: int = 3, horizon: int = 6, **more: Any) -> Question:
    """From the middle towards goals 0.2 to 0.25 away."""
    start, goal = torch.full((b, 1, 1, 2), 0.5), torch.full((b, 1, 2), 0.5)
    goal[:, 0, 0] += torch.linspace(0.2, 0.25, b)
    return Question(Frames(start, torch.zeros(1, 2)), goal, horizon, **more)


# --- the model -------------------------------------------------------------------------------------------------------


def test_rollouts_follow_the_dynamics_and_count_what_they_cost() -> None:
    model, actions = exact(), 2 * torch.rand(2, 5, 7, 2, generator=rng()) - 1
    history = model.encode(torch.full((2, 1, 2), 0.5))
    imagined = model.rollout(history, actions)
    assert torch.allclose(imagined.states[:, :, :, 0], 0.5 + 0.05 * actions.cumsum(2), atol=1e-6)
    assert imagined.evaluations == 5 * 7
    assert imagined.spread is None
    assert torch.allclose(model.predict(history, actions[:, 0, :1]), imagined.states[:, 0, 0])


def test_a_history_meets_the_actions_between_its_frames() -> None:
    predictor = Adding(history=3)
    model = WorldModel(Positions(), predictor)
    history = model.encode(torch.rand(1, 5, 2, generator=rng()))
    imagined = model.rollout(history, torch.zeros(1, 2, 4, 2), past=torch.ones(1, 4, 2))
    assert torch.allclose(imagined.states[0, 0, :, 0], history.x[0, -1].expand(4, -1))
    assert set(predictor.seen) == {3}
    with pytest.raises(ValueError, match="need the 2 actions between them"):
        model.rollout(history, torch.zeros(1, 2, 4, 2))


def test_an_ensemble_tells_how_little_it_knows() -> None:
    model = WorldModel(Positions(), [Adding(0.05), Adding(0.07)])
    history, actions = model.encode(torch.zeros(1, 1, 2)), torch.ones(1, 1, 3, 2)
    imagined = model.rollout(history, actions)
    assert imagined.spread is not None
    assert torch.allclose(imagined.states[0, 0, :, 0, 0], torch.tensor([0.06, 0.12, 0.18]))
    assert torch.allclose(imagined.spread[0, 0], torch.tensor([0.02, 0.04, 0.06]) / math.sqrt(2))
    assert imagined.evaluations == 6
    assert torch.allclose(Uncertainty()(imagined, torch.zeros(1, 1, 2)), torch.tensor([[0.04 / math.sqrt(2)]]))
    with pytest.raises(UserError, match="several predictors"):
        Uncertainty()(imagined._replace(spread=None), torch.zeros(1, 1, 2))
    with pytest.raises(UserError, match="different widths"):
        WorldModel(Positions(), [Adding(), Adding(repeat=2)])


def test_the_energy_of_what_follows_is_lower_than_that_of_what_does_not() -> None:
    model, acting = exact(), 2 * torch.rand(4, 5, 2, generator=rng()) - 1
    path = torch.cat([torch.full((4, 1, 2), 0.5), 0.5 + 0.05 * acting.cumsum(1)], 1)
    true = model.energy(path[:, :2], path[:, 2:], acting)
    false = model.energy(path[:, :2], path[:, 2:].flip(0), acting)
    assert torch.allclose(true, torch.zeros(4), atol=1e-10)
    assert torch.allclose(false, (path[:, 2:] - path[:, 2:].flip(0)).square().mean((1, 2)), atol=1e-6)


# --- costs -----------------------------------------------------------------------------------------------------------


def along(*xs: float) -> Rollout:
    states = torch.tensor(xs).view(1, 1, -1, 1, 1).expand(-1, -1, -1, -1, 2)
    return Rollout(states, torch.zeros(1, 1, len(xs), 2), None, 0)


@pytest.mark.parametrize(
    ("metric", "reduce", "expected"),
    [("l2", "last", 4.0), ("l2", "sum", 14 / 3), ("l2", "min", 1.0), ("l1", "sum", 2.0), ("l1", "min", 1.0)],
)
def test_latent_distance(metric: Any, reduce: Any, expected: float) -> None:
    cost = LatentDistance(metric, reduce)(along(3.0, 1.0, 2.0), torch.zeros(1, 1, 2))
    assert float(cost) == pytest.approx(expected)


def test_costs_add_up_and_names_are_checked() -> None:
    goal = torch.ones(1, 1, 2)
    both = WeightedSum([LatentDistance("l1", "last"), LatentDistance("cosine", "last")], [2.0, 1.0])
    assert float(both(along(3.0), goal)) == pytest.approx(4.0, abs=1e-6)
    added = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(added.weight)
    assert float(LatentDistance("l1", "last", project=added)(along(3.0), goal).detach()) == pytest.approx(4.0)
    with pytest.raises(UserError, match="metric 'l3'"):
        LatentDistance("l3")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="reduce 'mean'"):
        Reachability(2, reduce="mean")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 costs, 2 weights"):
        WeightedSum([LatentDistance()], [1.0, 2.0])


def test_reachability_learns_steps_and_not_distances() -> None:
    """On a circle that is walked one way round, a step back is far away."""
    torch.manual_seed(0)
    time = torch.arange(41) * (2 * math.pi / 40)
    turn = 2 * math.pi * torch.rand(64, 1, generator=rng())
    angle = turn + time
    states = torch.stack([angle.cos(), angle.sin()], -1)[:, :, None]  # [E, T, 1, 2]
    cost = Reachability(2, 64)
    losses = cost.fit(states, rng(1), steps=400, batch=256)
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])
    here = states[:, 10]
    cost.requires_grad_(False)
    steps = [float(cost.log_steps(here, states[:, 10 + gap]).mean()) for gap in (1, 5, 15, 29)]
    assert steps == sorted(steps)
    back = float(cost.log_steps(here, states[:, 5]).mean())
    assert back > steps[1] + 0.3
    assert steps[1] == pytest.approx(math.log(6), abs=0.5)
    with pytest.raises(UserError, match="2 episodes of 2 frames"):
        cost.fit(states[:1], rng())


# --- planners --------------------------------------------------------------------------------------------------------

PLANNERS: list[Planner] = [RandomShooting(256), CEM(64, 6, 8), MPPI(64, 6), Gradient(4, 40), Tree(512, 16)]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
@pytest.mark.parametrize("cost", [LatentDistance(reduce="last"), LatentDistance(reduce="sum")], ids=["last", "sum"])
def test_planners_find_the_way_and_account_for_it(planner: Any, cost: Cost) -> None:
    model, asked = exact(), question()
    plan = planner.plan(model, asked, cost, BOX, rng())
    assert plan.actions.shape == (3, 6, 2)
    assert bool(((plan.actions >= LOW) & (plan.actions <= HIGH)).all())
    again = model.rollout(asked.history, plan.actions[:, None])
    assert torch.allclose(again.states[:, 0], plan.states, atol=1e-6)
    assert torch.allclose(cost(again, asked.goal)[:, 0], plan.cost, atol=1e-6)
    rounds = getattr(planner, "iterations", getattr(planner, "steps", 1))
    # A tree takes each of its steps once, and its way once more.
    assert plan.evaluations == (planner.samples * rounds + isinstance(planner, Tree)) * 6
    assert plan.trace == sorted(plan.trace, reverse=True)
    assert len(plan.trace) == rounds
    idle = cost(model.rollout(asked.history, torch.zeros(3, 1, 6, 2)), asked.goal)[:, 0]
    assert bool((plan.cost < 0.7 * idle).all())
    if not isinstance(planner, RandomShooting | Tree):
        chance = RandomShooting(planner.samples).plan(model, asked, cost, BOX, rng())
        assert float(plan.cost.mean()) < float(chance.cost.mean())


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
def test_plans_are_a_function_of_the_generator(planner: Any) -> None:
    plans = [planner.plan(exact(), question(), LatentDistance(), BOX, rng(seed)) for seed in (1, 1, 2)]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert not torch.equal(plans[0].actions, plans[2].actions)


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
def test_a_plan_to_begin_with_is_never_made_worse(planner: Any) -> None:
    best = torch.zeros(3, 6, 2)
    best[:, :, 0] = 20 * torch.linspace(0.2, 0.25, 3)[:, None] / 6
    asked = question(warm=best)
    plan = planner.plan(exact(), asked, LatentDistance(reduce="last"), BOX, rng())
    assert float(plan.cost.max()) < 1e-8


def test_impossible_settings_are_named() -> None:
    for make, message in (
        (lambda: CEM(8, 2, 9), "elites must be at least 2"),
        (lambda: CEM(0), "samples=0"),
        (lambda: MPPI(temperature=0), "temperature"),
        (lambda: Gradient(lr=0), "lr must be positive"),
        (lambda: Tree(nodes=0), "nodes=0"),
        (lambda: Tree(8, 9), "samples=8, nodes=9"),
        (lambda: Box(HIGH, LOW), "low < high"),
        (lambda: Bank(torch.zeros(0, 2, 2)), "a bank needs stretches"),
        (lambda: Gaussian(LOW, 0 * HIGH), "std > 0"),
        (lambda: Gaussian(LOW, HIGH, HIGH, LOW), "low < high"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_a_tree_finds_the_way_that_leads_away_from_the_goal_first() -> None:
    start, goal = torch.tensor([[[[0.9, 0.4]]]]), torch.tensor([[[0.9, 0.6]]])
    asked = Question(Frames(start, torch.zeros(1, 2)), goal, 24)
    near = {
        type(planner).__name__: float(planner.plan(Walled(), asked, LatentDistance(reduce="min"), BOX, rng()).cost)
        for planner in (CEM(512, 8, 64), MPPI(512, 8), Tree(512, 16))
    }
    assert near["Tree"] < 0.05**2 / 2
    assert min(near["CEM"], near["MPPI"]) > 0.09**2 / 2  # at the wall below the goal


def test_a_tree_imagines_as_its_model_does_from_the_beginning() -> None:
    """With several frames to look back at, what a node grows into is what its whole way leads to."""
    torch.manual_seed(0)
    model = WorldModel(Positions(), CausalViT(2, 24, 1, 2, history=3, actions=ActionSpec(2, low=[-1, -1], high=[1, 1])))
    frames = Frames(torch.rand(2, 2, 1, 2), torch.zeros(1, 2))
    asked = Question(frames, torch.rand(2, 1, 2) + 3, 5, past=torch.rand(2, 1, 2))
    seen: list[Tensor] = []

    class Watching(Cost):
        def forward(self, imagined: Rollout, goal: Tensor) -> Tensor:
            costs = LatentDistance(reduce="last")(imagined, goal)
            if imagined.states.shape[2] == 1:
                seen.append(costs.amin(1))
            return costs

    plan = Tree(64, 8).plan(model, asked, Watching(), BOX, rng())
    again = model.rollout(frames, plan.actions[:, None], asked.past).states[:, 0]
    apart = (again - asked.goal[:, None]).square().mean((-1, -2))  # [B, H]
    best = torch.stack(seen).min(0)
    assert torch.allclose(apart[torch.arange(2), best.indices], best.values, rtol=1e-5)


def test_a_tree_keeps_what_is_nearest_and_what_is_new() -> None:
    points, known = torch.rand(3, 40, 4), torch.rand(3, 5, 4)
    value = torch.rand(3, 40)
    chosen = farthest(points, known, value, 6)
    for task in range(3):
        kept = [int(value[task].argmin())]
        while len(kept) < 6:
            there = torch.cat([known[task], points[task, kept]])
            gap = [float((there - point).norm(dim=1).min()) for point in points[task]]
            kept.append(gap.index(max(gap)))
        assert chosen[task].tolist() == kept
    assert farthest(points, known, value, 99).shape == (3, 40)


def test_a_bank_draws_what_was_done() -> None:
    stretches = torch.arange(30.0).view(5, 3, 2)
    bank = Bank(stretches, tail=0.0)
    drawn = bank.sample((2, 40, 7), rng())
    assert drawn.shape == (2, 40, 7, 2)
    firsts = {tuple(row) for row in drawn[:, :, :3].reshape(-1, 6).tolist()}
    assert firsts == {tuple(row) for row in stretches.flatten(1).tolist()}
    assert (bank.low.tolist(), bank.high.tolist()) == ([0.0, 1.0], [28.0, 29.0])
    assert Bank(stretches, tail=0.1).high[0] < 28
    held = Box(LOW, HIGH, hold=3).sample((1, 4, 7), rng())
    assert torch.equal(held[:, :, 0], held[:, :, 2])
    assert not torch.equal(held[:, :, 2], held[:, :, 3])


def test_a_normal_distribution_draws_around_its_mean() -> None:
    mean, std = torch.tensor([0.5, -2.0]), torch.tensor([0.1, 3.0])
    drawn = Gaussian(mean, std).sample((4, 2_000, 3), rng()).flatten(0, 2)
    assert torch.allclose(drawn.mean(0), mean, atol=0.1)
    assert torch.allclose(drawn.std(0), std, rtol=0.05)
    assert torch.equal(Gaussian(mean, std).clip(drawn), drawn)
    bounded = Gaussian(mean, std, LOW, HIGH)
    inside = bounded.sample((4, 100, 3), rng())
    assert bool(((inside >= LOW) & (inside <= HIGH)).all())
    assert torch.allclose(bounded.half, torch.tensor([3**0.5 * 0.1, 1.0]))
    held = Gaussian(mean, std, hold=2).sample((1, 4, 3), rng())
    assert torch.equal(held[:, :, 0], held[:, :, 1])
    assert not torch.equal(held[:, :, 1], held[:, :, 2])


REFINING = [planner for planner in PLANNERS if not isinstance(planner, Tree)]
"""A tree draws anew at every node, and so finds what a box holds as soon."""


@pytest.mark.parametrize("planner", REFINING, ids=lambda planner: type(planner).__name__)
def test_planners_begin_with_the_normal_distribution_of_their_space(planner: Any) -> None:
    """A narrow one whose mean is the answer finds it at once, a box of the same bounds does not; nothing needs bounds."""
    best = torch.zeros(2)
    best[0] = 20 * 0.225 / 6
    narrow: list[ActionSpace] = [
        Gaussian(best, torch.full((2,), 0.05)),
        Gaussian(best, torch.full((2,), 0.05), LOW, HIGH),
        BOX,
    ]
    asked, cost = question(), LatentDistance(reduce="last")
    plans = [planner.plan(exact(), asked, cost, space, rng()) for space in narrow]
    for plan in plans[:2]:
        assert bool(plan.actions.isfinite().all())
        assert plan.trace[0] < 0.3 * plans[2].trace[0]
        assert float((plan.actions - best).abs().max()) < 0.6


# --- agents ----------------------------------------------------------------------------------------------------------


def agent(model: WorldModel, **settings: Any) -> Agent:
    return Agent(model, CEM(48, 3, 6), LatentDistance(), BOX, **{"horizon": 8, "execute": 2, **settings})


def test_an_agent_reaches_its_goals_where_a_wanderer_does_not() -> None:
    env = empty()
    tasks = env.tasks("any", 24, seed=2)
    model = exact()
    planned = carry_out(env, agent(model), tasks, 60)
    chance = carry_out(env, Wanderer(Wander(), env.low, env.high, 60), tasks, 60)
    best = carry_out(env, Expert(env), tasks, 60)
    assert planned.solved.all()
    assert best.solved.all()
    assert chance.solved.mean() < 0.7
    assert (best.first <= planned.first).all()
    assert planned.first.mean() < 1.5 * best.first.mean()
    assert (chance.evaluations == 0).all()
    per_plan = 48 * 3 * 8
    assert np.allclose(planned.evaluations, per_plan * np.ceil(planned.first / 2))
    # Each frame is encoded once, and the goals once: nothing is encoded for a candidate.
    assert model.encoder.calls == planned.first.max() + 1


def test_an_agent_is_deterministic_and_its_seed_counts() -> None:
    env = empty()
    tasks = env.tasks("any", 4, seed=3)
    paths = [carry_out(env, agent(exact(), seed=seed), tasks, 10, whole=True).path for seed in (1, 1, 2)]
    assert np.array_equal(paths[0], paths[1])
    assert not np.array_equal(paths[0], paths[2])


def test_where_a_model_skips_frames_an_action_lasts_as_long() -> None:
    env = empty()
    tasks = env.tasks("any", 6, seed=4)
    box = Box(LOW.repeat(2), HIGH.repeat(2))
    skipping = Agent(exact(repeat=2), CEM(48, 4, 6), LatentDistance(), box, horizon=5, execute=1)
    outcome = carry_out(env, skipping, tasks, 60)
    assert outcome.solved.all()
    assert len(skipping.plans) == math.ceil(outcome.first.max() / 2)


def test_staying_is_judged_at_the_end() -> None:
    env = empty()

    class Passing(Wanderer):
        def act(self, obs: Any, state: Any = None) -> Any:
            return np.array([[1.0, 0.0]])

    tasks = [Task(0, (0.2, 0.5), (0.5, 0.5))]
    passing = carry_out(env, Passing(Wander(), env.low, env.high, 20), tasks, 12, whole=True)
    assert passing.first[0] == 5
    assert not passing.stayed[0]
    assert passing.path.shape == (1, 13, 2)


def test_an_agent_cannot_carry_out_more_than_it_plans() -> None:
    with pytest.raises(UserError, match="at most horizon=8, not 9"):
        agent(exact(), execute=9)


# --- tasks and numbers -----------------------------------------------------------------------------------------------


def test_tasks_come_back_from_their_file(tmp_path: Path) -> None:
    env = RoomsEnv("smaze", "state")
    kept = TaskSet("far", 150, {"layout": "smaze"}, env.tasks("far", 7, seed=0))
    write_tasks(tmp_path / "a.json", kept)
    assert read_tasks(tmp_path / "a.json") == kept
    check_tasks(kept, env, {"layout": "smaze", "reach": 0.06}, "a.json")
    with pytest.raises(UserError, match="layout=smaze, but the environment has layout=snake"):
        check_tasks(kept, env, {"layout": "snake"}, "a.json")
    solved = kept._replace(tasks=[kept.tasks[0], Task(1, (0.2, 0.2), (0.22, 0.2))])
    with pytest.raises(UserError, match="task 1 is solved where it begins"):
        check_tasks(solved, env, {"layout": "smaze"}, "a.json")
    for text in ("[]", "nonsense", '{"kind": 1, "budget": 5, "environment": {}, "tasks": []}'):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(UserError, match=r"b\.json"):
            read_tasks(tmp_path / "b.json")


def test_wilson_intervals() -> None:
    # Newcombe (1998), table I, method 3.
    assert wilson(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29)[1:] == pytest.approx((0.8830, 1.0), abs=1e-4)
    assert str(wilson(1, 2)) == "50.0 (9.5 to 90.5)"
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


def test_no_more_plans_are_made_where_a_task_is_over() -> None:
    env = empty()
    tasks = [Task(0, (0.5, 0.5), (0.58, 0.5)), Task(1, (0.1, 0.1), (0.9, 0.9))]
    agent = Agent(exact(), CEM(32, 3, 8), LatentDistance(), BOX, 6, 2)
    outcome = carry_out(env, agent, tasks, 60)
    assert outcome.solved.all()
    assert outcome.first[0] < 6 < outcome.first[1]
    each = 32 * 3 * 6
    plans = -(-outcome.first // 2)
    assert agent.evaluations.tolist() == (each * plans).tolist()  # type: ignore[union-attr]
    assert torch.isnan(agent.plans[-1].cost).tolist() == [True, False]
    assert not agent.plans[-1].actions[0].any()
    whole = Agent(exact(), CEM(32, 3, 8), LatentDistance(), BOX, 6, 2)
    carry_out(env, whole, tasks, 10, whole=True)
    assert whole.evaluations.tolist() == [each * 5] * 2  # type: ignore[union-attr]
