"""Files of tasks, so that everybody is measured on the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from worldjepa.errors import Unsaved, UserError
from worldjepa.world.environment import GoalEnvironment, Task

MOST = 1 << 24
"""Bytes of a file that are read at most."""


class TaskSet(NamedTuple):
    """Tasks of one kind in one environment."""

    kind: str
    budget: int
    """Steps that an episode may take."""
    environment: dict[str, Any]
    """What the environment was made with."""
    tasks: list[Task]


def write_tasks(path: Path, tasks: TaskSet) -> None:
    """Write tasks as JSON, one a line.

    Raises:
        Unsaved: the disk does not take it.
    """
    head = {"kind": tasks.kind, "budget": tasks.budget, "environment": tasks.environment}
    lines = ",\n".join("  " + json.dumps([one.seed, list(one.start), list(one.goal)]) for one in tasks.tasks)
    text = json.dumps(head, indent=1)[:-2] + ',\n "tasks": [\n' + lines + "\n ]\n}\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unsaved(f"{path} could not be written: {error.strerror or error}") from error


def read_tasks(path: Path) -> TaskSet:
    """Read what `write_tasks` wrote.

    Raises:
        UserError: it is something else.
    """
    try:
        if path.stat().st_size > MOST:
            raise UserError(f"{path} has more than {MOST:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        tasks = [
            Task(int(seed), tuple(map(float, start)), tuple(map(float, goal))) for seed, start, goal in found["tasks"]
        ]
        head = TaskSet(str(found["kind"]), int(found["budget"]), dict(found["environment"]), tasks)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is no file of tasks: {type(error).__name__}: {error}") from error
    if not tasks or head.budget < 1:
        raise UserError(f"{path} holds no tasks, or no budget for them")
    return head


def check_tasks(tasks: TaskSet, environment: GoalEnvironment, made_with: Mapping[str, Any], name: str) -> None:
    """Refuse tasks of another environment, and tasks that are solved where they begin: they would count as successes.

    Raises:
        UserError: names what differs, or the first such task.
    """
    for key, value in tasks.environment.items():
        if made_with.get(key) != value:
            raise UserError(f"{name} holds tasks for {key}={value}, but the environment has {key}={made_with.get(key)}")
    environment.begin(tasks.tasks)
    solved = np.flatnonzero(environment.solved(np.array([task.goal for task in tasks.tasks])))
    if len(solved):
        raise UserError(f"{name}: task {int(solved[0])} is solved where it begins")
