"""Planning as a task of a benchmark: the same for the model, an untrained one, chance and whoever knows the way."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from worldjepa.bench.examples import digest_of
from worldjepa.bench.jobs import Found, Spec
from worldjepa.bench.probes import VERSION
from worldjepa.bench.tasks import Task
from worldjepa.cli.agents import Wanted, make_agent
from worldjepa.cli.planning import opened, untrained
from worldjepa.data.cache import fingerprint
from worldjepa.errors import UserError
from worldjepa.evaluate.cached import weights_hash
from worldjepa.levels import Hierarchy
from worldjepa.world.agent import Actor, Expert, Wanderer
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import Navigable
from worldjepa.world.model import WorldModel
from worldjepa.world.trial import carry_out

PLAN: dict[str, Any] = {"tasks": "any", "count": 32, "budget": 60, "samples": 128, "iterations": 4, "horizon": 12}
"""How is planned where a task says nothing: by CEM, with the lowest level only."""


class PlanBed:
    """A world model on the tasks of one environment.

    Args:
        checkpoint: a run folder or a checkpoint.
        task: the task.
        config_dirs: more folders with options.
        allow: what the configuration of the checkpoint may construct.

    Raises:
        UserError: the checkpoint is no world model of this environment, or a key of the task's plan is not known.
    """

    def __init__(self, checkpoint: Path, task: Task, config_dirs: Sequence[Path], allow: Sequence[str]) -> None:
        strange = [key for key in task.plan if key not in PLAN]
        if strange:
            raise UserError(f"plan.{strange[0]} is not known; allowed: {', '.join(PLAN)}")
        self.checkpoint, self.task, self.config_dirs, self.allow = checkpoint, task, config_dirs, allow
        self.words = [f"env.{key}={value}" for key, value in task.settings.items()]
        self.plan: dict[str, Any] = {**PLAN, **task.plan}
        model, hierarchy, self.environment, self.made_with = opened(checkpoint, self.words, config_dirs, allow)
        self.trained = (model, hierarchy)
        self.tasks = self.environment.tasks(self.plan["tasks"], self.plan["count"], 0)
        if not isinstance(self.environment, Navigable):
            raise UserError(f"{checkpoint} was not trained in an environment that knows the way")

    @functools.cache  # noqa: B019
    def model(self, row: str, seed: int) -> tuple[WorldModel, Hierarchy | None]:
        """The model of a row."""
        if row == "trained":
            return self.trained
        return untrained(self.checkpoint, self.words, self.config_dirs, self.allow, seed)

    def weights(self, spec: Spec) -> str | None:
        """The hash of the weights that a row is about."""
        if spec.row not in ("trained", "untrained"):
            return None
        return weights_hash(self.model(spec.row, 0 if spec.row == "trained" else spec.seed)[0])

    def facts(self, spec: Spec) -> dict[str, Any]:
        """All that decides a result."""
        task, row, probe, seed = spec
        return {
            "task": [task.name, task.version, task.metric],
            "row": row,
            "probe": [probe, VERSION],
            "seed": seed,
            "environment": self.made_with,
            "tasks": [[one.seed, list(one.start), list(one.goal)] for one in self.tasks],
            "plan": self.plan,
            "weights": self.weights(spec),
        }

    def answer(self, spec: Spec) -> Found:
        """Carry the tasks out."""
        outcome = carry_out(self.environment, self._actor(spec), self.tasks, self.plan["budget"])
        solved = torch.from_numpy(outcome.solved.copy())
        scores = {"success": 100 * float(solved.double().mean())}
        if solved.any():
            scores["steps"] = float(outcome.first[outcome.solved].mean())
        scores["evaluations"] = float(outcome.evaluations.mean())
        facts = {"tasks": str(self.tasks), "environment": str(sorted(self.made_with.items()))}
        examples = digest_of([(fingerprint(facts), range(len(self.tasks)))])
        return Found(scores["success"], scores, {}, (0, 0, len(self.tasks)), 0, solved, examples, 0.0)

    def _actor(self, spec: Spec) -> Actor:
        environment = self.environment
        if spec.row == "chance":
            return Wanderer(Wander(), environment.low, environment.high, self.plan["budget"], spec.seed)
        if spec.row == "supervised":
            assert isinstance(environment, Navigable)
            return Expert(environment)
        model, hierarchy = self.model(spec.row, 0 if spec.row == "trained" else spec.seed)
        return make_agent(model, hierarchy, environment, self._wanted(spec.seed))

    def _wanted(self, seed: int) -> Wanted:
        plan = self.plan
        return Wanted(
            tasks=plan["tasks"],
            number=plan["count"],
            budget=plan["budget"],
            planner="cem",
            top="cem",
            samples=plan["samples"],
            iterations=plan["iterations"],
            horizon=plan["horizon"],
            execute=3,
            levels=1,
            above=(),
            cost="l2",
            reduce="sum",
            uncertainty=0.0,
            space="box",
            seed=seed,
            whole=False,
            threads=None,
        )
