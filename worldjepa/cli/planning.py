"""The work of `worldjepa plan`: the model, the tasks, and those who do them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from worldjepa.cli.agents import ELSEWHERE, Wanted, make_agent
from worldjepa.cli.measure import replace
from worldjepa.cli.outcomes import draw, in_words, table, told
from worldjepa.cli.paths import not_there
from worldjepa.cli.simulated import as_data
from worldjepa.cli.validate import validate
from worldjepa.dynamics import Dynamics
from worldjepa.errors import Unsaved, UserError
from worldjepa.jepa import JEPA
from worldjepa.levels import Hierarchy
from worldjepa.train import allocator, checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.train.trusted import read_config, restrict
from worldjepa.world.agent import Actor, Expert, Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import GoalEnvironment, Navigable, Simulated
from worldjepa.world.model import WorldModel
from worldjepa.world.probe import fit_probe, open_loop
from worldjepa.world.record import seeds_of
from worldjepa.world.surprise import surprise
from worldjepa.world.tasks import TaskSet, check_tasks, read_tasks, write_tasks
from worldjepa.world.trial import Outcome, carry_out

BUDGET = 100
PROBED = 2_000
"""States that the probe is fitted to and judged on."""
HORIZONS = (10, 30, 60)
"""Steps after which imagination is compared with the world."""
ASTRAY = 200
"""Episodes in which it is."""
EPISODES = 64
"""Episodes that an untrained model knows the actions of."""
FEWER = 8
"""Where physics is simulated and pictures are drawn one by one, the probe and the comparison make do with this part of it."""


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
    agent = make_agent(model, hierarchy, environment, wanted)
    if out is not None:
        make_folder(out)
        write_tasks(out / "tasks.json", tasks)
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


def make_folder(out: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        Unsaved: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unsaved(f"out={out} could not be made: {error.strerror or error}") from error


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
    config = _acting(path, overrides, config_dirs, allow)
    source = build_source(config)
    environment = source.environment() if isinstance(source, Simulated) else None
    if not isinstance(environment, GoalEnvironment):
        raise UserError(
            f"{path} was not trained in an environment with goals: plan needs data such as data=rooms or data=gym"
        )
    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1)
    world, above = _parts(model, path, lambda: checkpoint.load_model(folder, model))
    made_with = environment.settings(OmegaConf.to_container(config.data, resolve=True))  # type: ignore[arg-type]
    return world, above, environment, made_with


def untrained(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], allow: Sequence[str], seed: int
) -> tuple[WorldModel, Hierarchy | None]:
    """The world model of a checkpoint with random weights in place of its own; it knows the actions of a few episodes.

    Raises:
        UserError: it is no world model.
    """
    config = _acting(path, overrides, config_dirs, allow)
    if "episodes" in config.data:
        config.data.episodes = min(config.data.episodes, EPISODES)
    observations = build_source(config).train()
    torch.manual_seed(seed)
    return _parts(build_model(config, 1, observations), path, lambda: None)


def _acting(path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], allow: Sequence[str]) -> DictConfig:
    """The configuration of a checkpoint with another environment."""
    saved = read_config(checkpoint.locate(path))
    restrict(saved, allow)
    config: DictConfig = replace(saved, [as_data(word) for word in overrides], config_dirs)
    validate(config)
    return config


def _parts(model: JEPA, path: Path, load: Callable[[], object]) -> tuple[WorldModel, Hierarchy | None]:
    """What acts of a model, once it is loaded, and its levels.

    Raises:
        UserError: it is no world model.
    """
    if not isinstance(model.predictor, Dynamics):
        raise UserError(f"{path} is no world model: its predictor is a {type(model.predictor).__name__}")
    load()
    world = WorldModel(model.target.released(model.encoder), model.predictor).eval().requires_grad_(False)
    above = model.above
    assert above is None or isinstance(above, Hierarchy)
    return world, None if above is None else above.eval().requires_grad_(False)


def chosen_tasks(wanted: Wanted, environment: GoalEnvironment, made_with: dict[str, Any]) -> TaskSet:
    """The tasks of a file, or of a kind.

    Raises:
        UserError: the file is not there or damaged, or its tasks are of another world.
    """
    if not wanted.tasks.endswith(".json"):
        drawn = environment.tasks(wanted.tasks, wanted.number, wanted.seed)
        return TaskSet(wanted.tasks, wanted.budget or BUDGET, made_with, drawn)
    file = Path(wanted.tasks).expanduser()
    if not file.exists():
        raise not_there("tasks", file)
    tasks = read_tasks(file)
    check_tasks(tasks, environment, made_with, wanted.tasks)
    return tasks._replace(tasks=tasks.tasks[: wanted.number], budget=wanted.budget or tasks.budget)
