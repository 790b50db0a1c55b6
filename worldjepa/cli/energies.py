"""`worldjepa visualize energy`: tasks in the environment of a world model, and what it believes of first actions there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from worldjepa.cli.agents import Wanted, make_agent, make_cost
from worldjepa.cli.depicting import depiction_of
from worldjepa.cli.own import ask
from worldjepa.cli.plan import COSTS, PLANNERS, REDUCE
from worldjepa.cli.planning import opened
from worldjepa.cli.visualize import Asked
from worldjepa.errors import UserError, unknown
from worldjepa.train import checkpoint
from worldjepa.train.trusted import read_config
from worldjepa.types import Grid
from worldjepa.visual.energy import energy_picture
from worldjepa.visual.sheet import Shown
from worldjepa.world.environment import GoalEnvironment, Navigable, Task
from worldjepa.world.model import WorldModel
from worldjepa.world.pictures import Story, scene

OVER = 32
SIDE = 168
"""Pixels of the picture of a world."""
DISTANCES = tuple(cost for cost in COSTS if cost not in ("reach", "landmarks"))
"""Costs that need not be learnt first."""


def energy(asked: Asked) -> Shown:
    """The energy over first actions in some tasks.

    Raises:
        UserError: the checkpoint is no world model that acts, or a word is wrong.
    """
    wanted = _wanted(asked)
    (path,) = asked.paths
    model, _, environment, _ = opened(path, asked.overrides, asked.config_dirs, ask(asked.own).allow)
    tasks = environment.tasks(wanted.tasks, wanted.number, wanted.seed)
    obs = environment.begin(tasks)
    goal = environment.imagine(np.array([task.goal for task in tasks]))
    with torch.no_grad():
        history = model.encode(torch.from_numpy(np.ascontiguousarray(obs))[:, None], _state(model, environment))
        there = model.encode(torch.from_numpy(np.ascontiguousarray(goal))[:, None]).x[:, 0]
    real = None
    if isinstance(environment, Navigable):
        real = environment.expert(np.array([task.goal for task in tasks]))[:, :2]
        scenes = _scenes(environment, tasks)
    else:
        depiction = depiction_of(read_config(checkpoint.locate(path)), asked.config_dirs)
        scenes = depiction.pictures(torch.from_numpy(np.ascontiguousarray(obs))[:, None], Grid(1))[:, 0]
    return energy_picture(
        model,
        history,
        there,
        make_cost(model, [], wanted),
        scenes,
        asked.whole("hold", 4),
        asked.whole("side", 21),
        _planned(model, environment, tasks, obs, goal, wanted),
        real,
        asked.shown,
    )


def _wanted(asked: Asked) -> Wanted:
    for key, allowed in {"cost": DISTANCES, "reduce": REDUCE, "planner": PLANNERS}.items():
        if asked.own.get(key, allowed[0]) not in allowed:
            raise unknown(key, asked.own[key], allowed)
    planner = asked.own.get("planner", PLANNERS[0])
    return Wanted(
        tasks=asked.own.get("tasks", "any"),
        number=max(asked.whole("over", OVER), asked.shown),
        budget=None,
        planner=planner,
        top=planner,
        samples=None,
        iterations=None,
        horizon=None,
        execute=1,
        levels=1,
        above=(),
        cost=asked.own.get("cost", DISTANCES[0]),
        reduce=asked.own.get("reduce", "last"),
        uncertainty=0.0,
        space="box",
        seed=asked.seed,
        whole=False,
        threads=None,
    )


def _state(model: WorldModel, environment: GoalEnvironment) -> torch.Tensor | None:
    return torch.from_numpy(environment.state()).float()[:, None] if model.states else None


def _planned(
    model: WorldModel,
    environment: GoalEnvironment,
    tasks: list[Task],
    obs: Shaped[ndarray, "B ..."],
    goal: Shaped[ndarray, "B ..."],
    wanted: Wanted,
) -> Shaped[ndarray, "B 2"]:
    """The first action of a plan for each task; the planner counts all steps, as `worldjepa plan` does."""
    if model.actions.dim != 2:
        raise UserError(f"energy draws actions of two numbers, but here they have {model.actions.dim}")
    agent = make_agent(model, None, environment, wanted._replace(reduce="sum"))
    agent.begin(tasks, obs, goal)
    return agent.act(obs, environment.state())


def _scenes(environment: Navigable, tasks: list[Task]) -> UInt8[ndarray, "B H W 3"]:
    pictures = []
    for backdrop, task in zip(environment.backdrop(SIDE), tasks, strict=True):
        story = Story(np.array([task.start]), [], np.array(task.goal))
        pictures.append(np.asarray(scene(backdrop, story)))
    return np.stack(pictures)
