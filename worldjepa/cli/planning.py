"""The work of `worldjepa plan`: the model, the tasks, the three who do them, the table and the pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from worldjepa.cli.measure import replace
from worldjepa.cli.simulated import as_data
from worldjepa.cli.validate import validate
from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.levels import Hierarchy, Level
from worldjepa.train import allocator, checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.train.trusted import read_config, restrict
from worldjepa.world.agent import Actor, Agent, Expert, Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.costs import Cost, LatentDistance, Uncertainty, WeightedSum
from worldjepa.world.environment import GoalEnvironment, Navigable, Simulated
from worldjepa.world.hierarchy import TopDown, stages_of
from worldjepa.world.model import WorldModel
from worldjepa.world.pictures import Story, write_film, write_sheet
from worldjepa.world.planners import CEM, MPPI, Gradient, Planner, RandomShooting
from worldjepa.world.probe import StateProbe, encoded, fit_probe, open_loop
from worldjepa.world.reach import Reachability
from worldjepa.world.record import record, seeds_of, whole
from worldjepa.world.spaces import ActionSpace, Bank, Box
from worldjepa.world.surprise import surprise
from worldjepa.world.tasks import TaskSet, check_tasks, read_tasks, write_tasks
from worldjepa.world.trial import Outcome, carry_out, wilson

BUDGET = 100
PROBED = 2_000
"""States that the probe is fitted to and judged on."""
HORIZONS = (10, 30, 60)
"""Steps after which imagination is compared with the world."""
ASTRAY = 200
"""Episodes in which it is."""
FEWER = 8
"""Where physics is simulated and pictures are drawn one by one, the probe and the comparison make do with this part of it."""
WATCHED = 200
"""Episodes that a reachability cost or a bank of actions is made from."""
FITTED = 1_500
"""Steps in which a reachability cost is fitted."""
STRETCH = 10
"""Steps of a stretch of actions in a bank."""
HORIZON = 12
"""Steps that are planned on a single level."""
ABOVE = 10
"""Steps that are planned on the highest of several levels."""
SHOWN = 16
"""Episodes in the picture."""
SIDE = 192
ELSEWHERE = 7_919
"""Seeds of probes and of episodes that are watched begin here: they are neither those of training nor those of tasks."""


class Wanted(NamedTuple):
    """What the words ask for; see `worldjepa plan --help`."""

    tasks: str
    number: int
    budget: int | None
    planner: str
    samples: int | None
    iterations: int | None
    horizon: int | None
    execute: int
    levels: int | None
    above: tuple[int, ...]
    cost: str
    reduce: str
    uncertainty: float
    space: str
    seed: int
    whole: bool
    threads: int | None


def plan(
    path: Path,
    overrides: Sequence[str],
    config_dirs: Sequence[Path],
    out: Path | None,
    wanted: Wanted,
    allow: Sequence[str],
) -> int:
    """Do the tasks and return the exit code.

    Raises:
        UserError: the checkpoint is damaged or no world model that acts, or tasks are of another world.
        Unsaved: the disk does not take the results.
    """
    allocator.keep_freed_memory()
    if wanted.threads is not None:
        torch.set_num_threads(wanted.threads)
    model, hierarchy, environment, made_with = opened(path, overrides, config_dirs, allow)
    tasks = chosen_tasks(wanted, environment, made_with)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_tasks(out / "tasks.json", tasks)
    agent = make_agent(model, hierarchy, environment, wanted)
    console = screen_console()
    policy = Wander()
    part = 1 if isinstance(environment, Navigable) else FEWER
    probe = fit_probe(model, environment, seeds_of(ELSEWHERE, range(PROBED // part)))
    found: dict[str, Any] = {"probe_r2": probe.r2}
    if model.actions.repeat == 1:
        errors = open_loop(model, environment, probe, policy, seeds_of(ELSEWHERE + 1, range(ASTRAY // part)), HORIZONS)
        found["open_loop_error"] = {str(horizon): error for horizon, error in errors.items()}
    if isinstance(environment, Navigable):
        auroc = surprise(model, environment, policy, seeds_of(ELSEWHERE + 3, range(ASTRAY)))
        found["surprise_auroc"] = auroc._asdict()
    actors: dict[str, Actor] = {
        f"planned ({wanted.planner})": agent,
        "random": Wanderer(policy, environment.low, environment.high, tasks.budget, wanted.seed),
    }
    if isinstance(environment, Navigable):
        actors["shortest way"] = Expert(environment)
    outcomes: dict[str, Outcome] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        for name, actor in actors.items():
            task = bar.add_task(name, total=tasks.budget)
            began = time.perf_counter()
            step = partial(_advance, bar, task)
            outcomes[name] = carry_out(environment, actor, tasks.tasks, tasks.budget, wanted.whole, step)
            if actor is agent:
                found["seconds_per_plan"] = (time.perf_counter() - began) / max(1, len(agent.plans))
            bar.update(task, completed=tasks.budget)
    found["actors"] = {name: told(outcome, wanted.whole) for name, outcome in outcomes.items()}
    console.print(table(found["actors"], f"{len(tasks.tasks)} tasks, {tasks.kind}, {tasks.budget} steps at most"))
    console.print(in_words(found))
    if out is not None:
        settings = {
            **wanted._asdict(),
            "checkpoint": str(path),
            "environment": tasks.environment,
            "budget": tasks.budget,
        }
        write_json(out / "plan.json", {"settings": settings, **found})
        drawn = ""
        if isinstance(environment, Navigable):
            draw(out, environment, tasks, outcomes[next(iter(actors))], agent, probe)
            drawn = ", episodes.png and episode.gif"
        console.print(f"plan.json, tasks.json{drawn} are in {out}")
    return 0


def _advance(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def opened(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], allow: Sequence[str]
) -> tuple[WorldModel, Hierarchy | None, GoalEnvironment, dict[str, Any]]:
    """The world model of a checkpoint, its levels, the environment that it was trained in, and what that was made with.

    Raises:
        UserError: it is no world model, or its data come from no environment with goals.
    """
    folder = checkpoint.locate(path)
    saved = read_config(folder)
    restrict(saved, allow)
    config: DictConfig = replace(saved, [as_data(word) for word in overrides], config_dirs)
    validate(config)
    source = build_source(config)
    environment = source.environment() if isinstance(source, Simulated) else None
    if not isinstance(environment, GoalEnvironment):
        raise UserError(
            f"{path} was not trained in an environment with goals: plan needs data such as data=rooms or data=gym"
        )
    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1)
    if not isinstance(model.predictor, Dynamics):
        raise UserError(f"{path} is no world model: its predictor is a {type(model.predictor).__name__}")
    checkpoint.load_model(folder, model)
    world = WorldModel(model.target.released(model.encoder), model.predictor).eval().requires_grad_(False)
    made_with = environment.settings(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
    above = model.above
    assert above is None or isinstance(above, Hierarchy)
    return world, None if above is None else above.eval().requires_grad_(False), environment, made_with


def chosen_tasks(wanted: Wanted, environment: GoalEnvironment, made_with: dict[str, Any]) -> TaskSet:
    """The tasks of a file, or of a kind.

    Raises:
        UserError: the file is damaged, or its tasks are of another world.
    """
    if not wanted.tasks.endswith(".json"):
        drawn = environment.tasks(wanted.tasks, wanted.number, wanted.seed)
        return TaskSet(wanted.tasks, wanted.budget or BUDGET, made_with, drawn)
    tasks = read_tasks(Path(wanted.tasks).expanduser())
    check_tasks(tasks, environment, made_with, wanted.tasks)
    return tasks._replace(tasks=tasks.tasks[: wanted.number], budget=wanted.budget or tasks.budget)


def make_agent(model: WorldModel, hierarchy: Hierarchy | None, environment: GoalEnvironment, wanted: Wanted) -> Agent:
    """The agent that the words describe.

    Raises:
        UserError: a number is out of its range, the model has fewer levels, or one predictor shall tell how uncertain it is.
    """
    cost: Cost
    spec = model.actions
    levels = used_levels(hierarchy, wanted.levels)
    slowest = math.prod(level.stride for level in levels)
    watched = None
    if wanted.cost == "reach" or wanted.space == "bank" or levels:
        length = max(6 * STRETCH, 2 * slowest) * spec.repeat
        watched = whole(record(environment, Wander(), seeds_of(ELSEWHERE + 2, range(WATCHED)), length), length)
        if len(watched) < 2:
            raise UserError(
                f"cost=reach, space=bank and levels need episodes of {length} steps, but here they end before"
            )
    if wanted.cost == "reach":
        assert watched is not None
        states = torch.stack([encoded(model, episode.observations[:: spec.repeat]) for episode in watched])
        torch.manual_seed(wanted.seed)
        cost = Reachability(states.shape[-1] * states.shape[-2], reduce=wanted.reduce)  # type: ignore[arg-type]
        cost.fit(states, torch.Generator().manual_seed(wanted.seed), FITTED)
        cost.requires_grad_(False)
    else:
        cost = LatentDistance(wanted.cost, wanted.reduce)  # type: ignore[arg-type]
    if wanted.uncertainty:
        if len(model.members) < 2:
            raise UserError(
                f"uncertainty={wanted.uncertainty:g} needs a model with several predictors: train with predictor=ensemble_mlp"
            )
        cost = WeightedSum([cost, Uncertainty()], [1.0, wanted.uncertainty])
    space: ActionSpace = Box(spec.low.repeat(spec.repeat), spec.high.repeat(spec.repeat))
    planner = make_planner(wanted)
    horizon = wanted.horizon or (levels[0].stride if levels else HORIZON)
    if watched is not None:
        acts = torch.from_numpy(np.stack([episode.actions for episode in watched]))  # [E, T, A]
        acts = acts.reshape(len(acts), -1, spec.width)
        if wanted.space == "bank":
            space = Bank(acts[:, : acts.shape[1] // STRETCH * STRETCH].reshape(-1, STRETCH, spec.width))
        if levels and hierarchy is not None:
            above = wanted.above or (*(level.stride for level in levels[1:]), ABOVE)
            search = make_planner(wanted, 2)
            acting = hierarchy.acting_of(acts)
            if acting is None:
                raise UserError("the levels of this model were trained without actions; choose levels=1")
            planner = TopDown(planner, stages_of(levels, acting, search, above))
    return Agent(model, planner, cost, space, horizon, wanted.execute, wanted.seed)


def used_levels(hierarchy: Hierarchy | None, number: int | None) -> list[Level]:
    """The levels above the lowest that are planned on.

    Raises:
        UserError: the model has fewer.
    """
    every = [] if hierarchy is None else hierarchy.each
    if number is not None and number > len(every) + 1:
        raise UserError(f"levels={number}, but the model has {len(every) + 1}; train more with levels=NAME")
    return every if number is None else every[: number - 1]


def make_planner(wanted: Wanted, times: int = 1) -> Planner:
    """The planner that the words describe, with so many times the candidates.

    Raises:
        UserError: a number is out of its range.
    """
    samples, iterations = wanted.samples, wanted.iterations
    if wanted.planner == "cem":
        count = times * (samples or 128)
        return CEM(count, iterations or 4, max(2, count // (8 * times)))
    if wanted.planner == "mppi":
        return MPPI(times * (samples or 128), iterations or 4)
    if wanted.planner == "gradient":
        return Gradient(times * (samples or 16), iterations or 30)
    return RandomShooting(times * (samples or 512))


def told(outcome: Outcome, to_the_end: bool) -> dict[str, Any]:
    """What the table and the file say of an actor."""
    solved, n = outcome.solved, len(outcome.first)
    share = wilson(int(solved.sum()), n)
    return {
        "success": share.share,
        "interval": [share.low, share.high],
        "stayed": float(outcome.stayed.mean()) if to_the_end else None,
        "steps": float(outcome.first[solved].mean()) if solved.any() else None,
        "shortest": None if outcome.shortest is None or not solved.any() else float(outcome.shortest[solved].mean()),
        "evaluations": float(outcome.evaluations.mean()),
        "tasks": n,
        "first": outcome.first.tolist(),
    }


def table(actors: dict[str, dict[str, Any]], title: str) -> Table:
    """One row an actor."""
    result = Table(title=title)
    result.add_column("", no_wrap=True)
    headings = ("success % (95 % interval)", "stays %", "steps", "shortest", "evaluations")
    for heading in headings:
        result.add_column(heading, justify="right")
    for name, row in actors.items():
        share = wilson(round(row["success"] * row["tasks"]), row["tasks"])
        stayed = "" if row["stayed"] is None else f"{100 * row['stayed']:.1f}"
        numbers = ["" if row[key] is None else f"{row[key]:.1f}" for key in ("steps", "shortest")]
        result.add_row(name, str(share), stayed, *numbers, f"{row['evaluations']:,.0f}")
    return result


def in_words(found: dict[str, Any]) -> str:
    """What is known besides the table."""
    lines = [f"linear probe of the state: R² {found['probe_r2']:.4f}"]
    if found.get("open_loop_error"):
        errors = ", ".join(f"{error:.3f} after {horizon}" for horizon, error in found["open_loop_error"].items())
        lines.append(f"error of the imagined state without looking: {errors} steps")
    auroc = found.get("surprise_auroc")
    if auroc:
        others, jumps = f"{auroc['exchanged']:.3f}", f"{auroc['teleported']:.3f}"
        lines.append(f"surprise AUROC: {others} against futures of other episodes, {jumps} against jumps")
    seconds = found["seconds_per_plan"]
    lines.append(f"{seconds:.2f} s per plan for all tasks at once; evaluations are per task, until it is solved")
    return "\n".join(lines)


def draw(out: Path, environment: Navigable, tasks: TaskSet, outcome: Outcome, agent: Agent, probe: StateProbe) -> None:
    """Write the pictures of the planned episodes.

    Raises:
        Unsaved: the disk does not take them.
    """
    environment.begin(tasks.tasks)
    backdrops = environment.backdrop(SIDE)[:SHOWN]
    every = agent.execute * agent.spec.repeat
    stories = []
    for index in range(len(backdrops)):
        end = outcome.first[index] if outcome.first[index] >= 0 else outcome.path.shape[1] - 1
        plans = [
            (n * every, probe(plan.states[index]).numpy()) for n, plan in enumerate(agent.plans) if n * every < end
        ]
        stories.append(Story(outcome.path[index, : end + 1], plans, np.array(tasks.tasks[index].goal)))
    write_sheet(out / "episodes.png", backdrops, stories)
    longest = max(range(len(stories)), key=lambda index: (outcome.first[index] >= 0, len(stories[index].path)))
    write_film(out / "episode.gif", backdrops[longest], stories[longest])
