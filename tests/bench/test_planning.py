"""The fixed tasks of the planning benchmark are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import planning
from modalities.trajectory.rooms import HELD_OUT, NEAR, RoomsEnv
from worldjepa.world.record import seeds_of
from worldjepa.world.tasks import check_tasks, read_tasks

MOST = 12_000
"""Episodes that a model is trained on at most."""


@pytest.mark.parametrize("name", sorted(planning.KINDS))
def test_tasks_are_held_out_and_not_solved_where_they_begin(name: str) -> None:
    layout, radius, kind, budget = planning.KINDS[name]
    tasks = read_tasks(planning.TASKS / f"{name}.json")
    env = RoomsEnv(**tasks.environment)
    assert (tasks.kind, tasks.budget, len(tasks.tasks)) == (kind, budget, planning.COUNT)
    assert (env.layout, env.radius) == (layout, radius)
    check_tasks(tasks, env, env.settings({}), name)  # none is solved at its start
    env.begin(tasks.tasks)
    left = env.steps_left(np.array([task.goal for task in tasks.tasks]))
    assert (left > 0).all()
    assert (left < budget).all()
    if kind == "near":
        assert (left <= NEAR).all()
    seeds = [task.seed for task in tasks.tasks]
    assert len(set(seeds)) == len(seeds)
    walks = {seed for run in range(3) for seed in seeds_of(run, range(MOST)).tolist()}
    assert min(seeds) >= HELD_OUT
    assert not walks & set(seeds)


def test_the_files_are_what_the_benchmark_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = planning.TASKS
    monkeypatch.setattr(planning, "TASKS", tmp_path)
    planning.draw_tasks()
    assert {file.name for file in kept.iterdir()} == {file.name for file in tmp_path.iterdir()}
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (kept / file.name).read_bytes()


def test_every_row_has_its_tasks_and_its_model() -> None:
    assert {row.tasks for row in planning.ROWS} == set(planning.KINDS)
    bases = {model.base for model in planning.MODELS.values() if model.base is not None}
    assert {row.model for row in planning.ROWS} | bases == set(planning.MODELS)
    asked = [word for model in planning.MODELS.values() for word in model.words if word.startswith("data.episodes=")]
    assert max(int(word.partition("=")[2]) for word in asked) == MOST
    slugs = [planning.slug(row) for row in planning.ROWS]
    assert len(set(slugs)) == len(slugs)
