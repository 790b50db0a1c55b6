"""What `worldjepa plan` shows of episodes: a table, words, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from worldjepa.world.agent import Agent
from worldjepa.world.environment import Navigable
from worldjepa.world.pictures import Story, write_film, write_sheet
from worldjepa.world.probe import StateProbe
from worldjepa.world.tasks import TaskSet
from worldjepa.world.trial import Outcome, wilson

SHOWN = 16
"""Episodes in the picture."""
SIDE = 192


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
