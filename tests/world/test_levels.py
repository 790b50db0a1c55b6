"""Levels above a JEPA: what they are taught, what they teach, and how plans come down from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modalities.trajectory import embedded
from modalities.trajectory.encoders import StateFrames
from world.exact import HIGH, LOW, Adding, empty, exact
from worldjepa.cli import agents, main
from worldjepa.errors import UserError
from worldjepa.future import Future
from worldjepa.jepa import JEPA
from worldjepa.levels import Hierarchy, Level, OwnLatent, SameLatent, Timeline
from worldjepa.nn.actions import ActionSpec
from worldjepa.objectives import MSE
from worldjepa.targets import EMA, Shared
from worldjepa.train.identity import differences
from worldjepa.types import Batch, Grid, Tokens
from worldjepa.vectors import ResidualMLP
from worldjepa.world.agent import Agent
from worldjepa.world.costs import Cost, LatentDistance
from worldjepa.world.hierarchy import TopDown, stages_of
from worldjepa.world.model import Frames, Rollout
from worldjepa.world.planners import CEM, Plan, Planner, Question
from worldjepa.world.spaces import Box
from worldjepa.world.trial import carry_out


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def level(stride: int = 3, acting: int = 2, macro: int = 4, **more: Any) -> Level:
    """On representations of width 5."""
    torch.manual_seed(0)
    predictor = ResidualMLP(5, dim=8, actions=ActionSpec(macro) if acting else None)
    settings = {"rollout": 2, "windows": 3, "target": "detached", **more}
    return Level(settings.pop("encoder", SameLatent(5)), predictor, MSE(), stride, acting, macro=macro, **settings)


def timeline(frames: int = 20, width: int = 2) -> Timeline:
    """Of 3 samples."""
    x = torch.randn(3, frames, 1, 1, 5, generator=rng())
    return Timeline(x, torch.randn(3, frames - 1, width, generator=rng(1)) if width else None, 1)


# --- learning --------------------------------------------------------------------------------------------------------


def test_macro_actions_are_made_of_all_that_is_done_in_between() -> None:
    second, third = level(), level(2, acting=4, macro=3)
    assert second.macro_encoder is not None
    assert third.macro_encoder is not None
    below = timeline()
    assert below.acting is not None
    above = second.lifted(below)
    top = third.lifted(above)
    assert (above.step, top.step) == (3, 6)
    assert above.acting is not None
    assert top.acting is not None
    assert (above.acting.shape, top.acting.shape) == ((3, 17, 4), (3, 14, 3))
    for start in range(17):
        done = below.acting[:, start : start + 3].flatten(1)
        assert torch.allclose(above.acting[:, start], second.macro_encoder(done), atol=1e-6)
    for start in range(14):
        done = torch.cat([above.acting[:, start], above.acting[:, start + 3]], 1)
        assert torch.allclose(top.acting[:, start], third.macro_encoder(done), atol=1e-6)


def test_a_level_is_taught_by_rollouts_in_long_steps() -> None:
    part, below = level(spread=0.0), timeline()
    terms, above = part(below)
    assert above.acting is not None
    errors = []
    for start in (0, 6, 13):  # spread evenly over the 14 places where 2 steps of 3 frames can begin
        state = below.x[:, start, 0, 0]
        for step in range(2):
            macro = above.acting[:, start + 3 * step]
            state = state + part.predictor.net(torch.cat([state, macro], -1))  # type: ignore[operator]
            errors.append((state - below.x[:, start + 3 * (step + 1), 0, 0]).square().mean())
    assert terms.keys() == {"mse"}
    assert torch.allclose(terms["mse"], torch.stack(errors).mean(), atol=1e-6)


def test_macro_actions_are_kept_at_mean_0_and_deviation_1() -> None:
    part, below = level(spread=0.5), timeline()
    terms, above = part(below)
    assert above.acting is not None
    used = torch.cat([above.acting[:, [start, start + 3]].flatten(0, 1) for start in (0, 6, 13)])
    apart = used.mean(0).square() + (used.std(0, correction=0) - 1).square()
    assert torch.allclose(terms["macro"], 0.5 * apart.mean(), atol=1e-6)


def jepa(detach: bool, alone: bool = False) -> JEPA:
    torch.manual_seed(0)
    encoder = StateFrames(5, 2, 8)
    own = level(encoder=OwnLatent(5, 5, 8), target="shared")
    above = Hierarchy([own], ActionSpec(2), detach, alone)
    return JEPA(encoder, ResidualMLP(5, 8, actions=ActionSpec(2)), Shared(encoder), MSE(), above)


def batch() -> Batch:
    obs, acts = torch.randn(4, 12, 2, generator=rng()), torch.randn(4, 11, 2, generator=rng(1))
    return Batch(obs, Future(1)(Grid(12), 4, rng()), Tokens(acts, Grid(11).pos().expand(4, -1, -1)))


@pytest.mark.parametrize("detach", [True, False])
def test_a_level_teaches_what_is_below_only_end_to_end(detach: bool) -> None:
    model = jepa(detach)
    terms = model(batch())
    assert terms.keys() == {"mse", "level2_mse", "level2_macro"}
    terms["level2_mse"].backward()
    below = [parameter.grad is not None for parameter in model.encoder.parameters()]
    assert all(below) if not detach else not any(below)
    assert model.above is not None
    assert all(parameter.grad is not None for parameter in model.above.parameters())


def test_levels_alone_leave_what_is_below_as_it_is() -> None:
    model = jepa(detach=True, alone=True)
    terms = model(batch())
    assert terms.keys() == {"level2_mse", "level2_macro"}
    assert {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad} == {"above"}
    assert model.update(0) == {}


@pytest.mark.parametrize("detach", [True, False])
def test_levels_that_teach_nothing_look_at_the_encoder_that_is_released(detach: bool) -> None:
    model = jepa(detach)
    model.target = EMA(model.encoder, steps=10, normalise=False)
    with torch.no_grad():
        for parameter in model.target.parameters():
            parameter.mul_(0.5)
    assert model.above is not None
    seen = model.target.encoder if detach else model.encoder
    expected = model.above(seen, batch())
    assert torch.equal(model(batch())["level2_mse"], expected["level2_mse"])
    other = model.above(model.encoder if detach else model.target.encoder, batch())
    assert not torch.equal(other["level2_mse"], expected["level2_mse"])


def test_plans_lift_goals_as_the_released_encoder_does() -> None:
    part = level(encoder=OwnLatent(5, 5, 8), target="ema", steps=10)
    with torch.no_grad():
        for parameter in part.encoder.parameters():
            parameter.add_(1.0)
    (stage,) = stages_of([part], torch.randn(2, 9, 2, generator=rng()), CEM(), (2,))
    x = torch.randn(3, 5, generator=rng())
    assert torch.equal(stage.lift(x), part.released().net(x))
    assert not torch.equal(stage.lift(x), part.encoder.net(x))


def test_an_average_of_a_level_follows_it() -> None:
    part = level(encoder=OwnLatent(5, 5, 8), target="ema", steps=10)
    above = Hierarchy([part], ActionSpec(2))
    with torch.no_grad():
        for parameter in part.encoder.parameters():
            parameter.add_(1.0)
    before = [value.clone() for value in part.target.parameters()]
    above.update(0)
    for mine, old, theirs in zip(part.target.parameters(), before, part.encoder.parameters(), strict=True):
        assert torch.allclose(mine, old + 0.004 * (theirs - old), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: level(stride=1), "stride >= 2"),
        (lambda: level(target="mean"), "target of a level"),
        (
            lambda: Level(SameLatent(5), ResidualMLP(5), MSE(), 3, acting=2),
            "expects 0 numbers that act, but there are 4",
        ),
        (lambda: Hierarchy([]), "at least one level"),
        (lambda: jepa(detach=False, alone=True), "exclude each other"),
        (lambda: Hierarchy([level(), level(acting=4)]).check(Grid(18)), "level 3 takes 2 steps of 9 frames"),
        (lambda: level()(timeline(width=0)), "these data hold none"),
        (lambda: SameLatent(4).grid((9, 1, 1, 5)), "of width 4, not of shape"),
    ],
)
def test_mistakes_are_told(make: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        make()


def test_windows_that_are_just_long_enough_will_do() -> None:
    above = Hierarchy([level(), level(acting=4)])
    above.check(Grid(19))
    below = timeline(19)
    for part in above.each:
        terms, below = part(below)
        assert torch.isfinite(terms["mse"])


# --- planning --------------------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """What several actions come to, as a macro-action: their mean."""

    def forward(self, chunk: Tensor) -> Tensor:
        return chunk.unflatten(-1, (-1, 2)).mean(-2)


def exact_level(stride: int = 4, scale: float = 0.2) -> Level:
    """Above the world that is understood exactly: a step goes as far as `stride` steps below."""
    part = Level(SameLatent(2), Adding(scale), MSE(), stride, acting=2, macro=2, target="detached")
    part.macro_encoder = Mean()  # type: ignore[assignment]
    return part


def acting() -> Tensor:
    """Episodes that go somewhere."""
    ways = 2 * torch.rand(64, 1, 2, generator=rng(3)) - 1
    return ways.expand(-1, 32, -1)


def test_plans_come_down_from_the_top() -> None:
    stages = stages_of([exact_level(), exact_level(2, 0.4)], acting(), CEM(64, 4, 8), (2, 3))
    assert torch.all(stages[1].search.space.high <= 1)
    start = torch.full((2, 1, 1, 2), 0.1)
    goal = torch.tensor([[[0.9, 0.1]], [[0.12, 0.12]]])  # far, and so near that no sub-goal is needed
    ask = Question(Frames(start, torch.zeros(1, 2)), goal, 4)
    plan = TopDown(CEM(64, 4, 8), stages).plan(exact(), ask, LatentDistance(), Box(LOW, HIGH), rng())
    far, near = plan.states[:, -1, 0]
    assert plan.evaluations == 4 * 64 * (3 + 2 + 4)
    assert far[0] > 0.22
    assert abs(float(far[1]) - 0.1) < 0.08
    assert torch.allclose(near, goal[1, 0], atol=0.05)


class Asked(Planner):
    """Notes what it is asked, and stays where it is."""

    def __init__(self) -> None:
        self.goals: list[Tensor] = []
        self.costs: list[Any] = []
        self.warm: list[Tensor | None] = []

    def plan(self, model: Any, question: Question, cost: Any, space: Any, rng: torch.Generator) -> Plan:
        self.goals.append(question.goal)
        self.costs.append(cost)
        self.warm.append(question.warm)
        b = len(question.goal)
        states = question.history.x[:, -1:].expand(-1, question.horizon, -1, -1)
        actions = torch.zeros(b, question.horizon, 2) + question.goal[:, :1, :2]
        return Plan(actions, states, question.goal[:, 0, 0], 7, [1.0])


class Sends(Planner):
    """Imagines a first state half-way to the right."""

    def plan(self, model: Any, question: Question, cost: Any, space: Any, rng: torch.Generator) -> Plan:
        states = torch.tensor([0.5, 0.1]).expand(len(question.goal), question.horizon, 1, 2)
        return Plan(torch.zeros(len(states), question.horizon, 2), states, torch.zeros(len(states)), 11, [2.0])


def test_the_last_mile_makes_straight_for_the_goal() -> None:
    bottom, cost = Asked(), LatentDistance("l1")
    (stage,) = stages_of([exact_level()], acting(), Sends(), (3,))
    goal = torch.tensor([[[0.9, 0.1]], [[0.2, 0.1]], [[0.8, 0.8]]])
    warm = torch.rand(3, 4, 2, generator=rng())
    ask = Question(Frames(torch.full((3, 1, 1, 2), 0.1), torch.zeros(1, 2)), goal, 4, warm=warm)
    plan = TopDown(bottom, [stage], LatentDistance("cosine", "last")).plan(exact(), ask, cost, Box(LOW, HIGH), rng())
    straight, chasing = bottom.goals
    assert torch.equal(straight, goal[1:2])
    assert torch.equal(chasing, torch.tensor([[[0.5, 0.1]]]).expand(2, -1, -1))
    assert bottom.costs[0] is cost
    assert (bottom.costs[1].metric, bottom.costs[1].reduce) == ("cosine", "last")
    assert torch.allclose(plan.cost, torch.tensor([0.5, 0.2, 0.5]))  # each task's own, in order
    assert torch.allclose(plan.actions[:, 0, 0], torch.tensor([0.5, 0.2, 0.5]))
    assert (plan.evaluations, plan.trace) == (18, [2.0, 1.0])
    assert bottom.warm[0] is not None
    assert torch.equal(bottom.warm[0], warm[1:2])
    # What counts as near is what the level's own cost calls so.
    judged = stage._replace(search=stage.search._replace(cost=Opposite()))
    bottom = Asked()
    TopDown(bottom, [judged]).plan(exact(), ask, cost, Box(LOW, HIGH), rng())
    assert torch.equal(bottom.goals[0], goal[[0, 2]])


class Opposite(Cost):
    """Calls near what is far."""

    def forward(self, imagined: Rollout, goal: Tensor) -> Tensor:
        cost: Tensor = -LatentDistance()(imagined, goal)
        return cost


def test_an_agent_reaches_far_goals_from_the_top_down() -> None:
    env = empty()
    stages = stages_of([exact_level()], acting(), CEM(64, 4, 8), (6,))
    agent = Agent(exact(), TopDown(CEM(64, 4, 8), stages), LatentDistance(), Box(LOW, HIGH), 4, 2)
    outcome = carry_out(env, agent, env.tasks("any", 12, seed=0), 60)
    assert outcome.solved.all()
    assert (outcome.first <= outcome.shortest + 12).all()


def test_what_does_not_fit_is_told_before_planning() -> None:
    with pytest.raises(UserError, match="need as many horizons, not 2"):
        stages_of([exact_level()], acting(), CEM(), (2, 3))
    with pytest.raises(UserError, match="shorter than a step of 64 frames"):
        stages_of([exact_level(64)], acting(), CEM(), (2,))
    with pytest.raises(UserError, match="without actions"):
        stages_of([level(acting=0)], acting(), CEM(), (2,))
    with pytest.raises(UserError, match="needs a model with levels"):
        TopDown(CEM(), [])


# --- from the command line -------------------------------------------------------------------------------------------

TOY = [
    *("modality=trajectory", "data=rooms_long", "data.size=16", "data.layout=smaze", "data.episodes=20"),
    *("arch.dim=8", "arch.size=16", "arch.predictor.dim=24", "arch.predictor.depth=1", "run.batch_size=4"),
    *("run.threads=1", "run.accelerator=cpu", "run.tensorboard=false", "probe.enabled=false", "run.log_every=1"),
]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy world model of one level after three steps."""
    folder = tmp_path_factory.mktemp("levels") / "flat"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 24, "val": 12, "test": 12})
        assert main(["train", *TOY, "run.steps=3", f"run.out={folder}"]) == 0
    return folder


def told(folder: Path) -> list[dict[str, float]]:
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in found if "train/loss" in row]


def test_levels_on_top_of_a_run_are_trained_and_planned_with(
    flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, out = [*TOY, "levels=on_top", f"run.init_from={flat}", "run.steps=4"], tmp_path / "two"
    assert main(["train", *words, "run.save_every=2", "run.keep=5", f"run.out={out}"]) == 0
    assert "the levels and everything else begin anew" in capsys.readouterr().out
    assert {"train/level2_mse", "train/level2_macro"} <= told(out)[0].keys()
    assert "train/mse" not in told(out)[0]
    again = [*TOY, "levels=on_top", "run.steps=4", f"run.resume={out / 'checkpoints' / 'step-00000002'}"]
    assert main(["train", *again, f"run.out={tmp_path / 'again'}"]) == 0
    assert [row["train/loss"] for row in told(tmp_path / "again")] == [row["train/loss"] for row in told(out)][2:]
    quick = ["tasks=near", "count=4", "budget=4", "samples=8", "iterations=2", "threads=1"]
    for levels, each in (("1", 2 * 8 * 12), ("2", 2 * 8 * 10 + 2 * 16 * 10)):
        folder = tmp_path / f"plan{levels}"
        assert main(["plan", f"checkpoint={out}", *quick, f"levels={levels}", f"out={folder}"]) == 0
        spent = 4 * json.loads((folder / "plan.json").read_text())["actors"]["planned (cem)"]["evaluations"]
        assert spent > 0
        assert spent % each == 0
    folder = tmp_path / "landmarks"
    monkeypatch.setattr(agents, "SURVEYED", 8)
    assert main(["plan", f"checkpoint={out}", *quick, "cost=landmarks", "top=tree", f"out={folder}"]) == 0
    spent = 4 * json.loads((folder / "plan.json").read_text())["actors"]["planned (cem)"]["evaluations"]
    assert spent > 0
    assert spent % (2 * 8 * 10 + 16 * 10 + 10) == 0  # a tree takes its steps once, and its way once more
    assert main(["plan", f"checkpoint={out}", *quick, "levels=3"]) == 2
    assert "levels=3, but the model has 2" in capsys.readouterr().err
    assert main(["plan", f"checkpoint={out}", *quick, "above=3,10"]) == 2
    assert "above=3,10 says how far 2 levels plan, but there are 1" in capsys.readouterr().err
    assert main(["plan", f"checkpoint={out}", *quick, "above=x"]) == 2
    assert "above=x: give whole numbers" in capsys.readouterr().err


def test_runs_from_before_there_were_levels_are_the_same_runs() -> None:
    none: dict[str, Any] = {"actions": None, "detach": True, "alone": False, "above": []}
    before: dict[str, Any] = {"seed": 0, "optim": {"lr": 1.0}}
    assert differences(before, {**before, "levels": none}) == {}
    assert differences({**before, "levels": {**none, "above": [{"stride": 3}]}}, {**before, "levels": none}) != {}
    longer = {**none, "above": [{"stride": 4}]}
    found = differences({**before, "levels": {**none, "above": [{"stride": 3}]}}, {**before, "levels": longer})
    assert found == {"levels.above.0.stride": (3, 4)}


@pytest.mark.parametrize("option", ["two", "own"])
def test_levels_can_be_trained_together_with_what_is_below(option: str, tmp_path: Path) -> None:
    words = [*TOY, "masks=future_parts", f"levels={option}", "run.steps=2", f"run.out={tmp_path / 'run'}"]
    assert main(["train", *words]) == 0
    assert {"train/mse", "train/level2_mse"} <= told(tmp_path / "run")[0].keys()


def test_levels_alone_need_something_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TOY, "levels=on_top", "run.steps=2", f"run.out={tmp_path / 'run'}"]) == 2
    assert "run.init_from=RUN must bring what is below" in capsys.readouterr().err


def test_windows_that_are_too_short_stop_a_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TOY, "levels=two", "data.horizon=30", "run.steps=2", f"run.out={tmp_path / 'run'}"]
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert "level 2 takes 6 steps of 10 frames" in error
    assert "Traceback" not in error
