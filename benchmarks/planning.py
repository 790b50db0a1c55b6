"""World models of rooms that plan, flat and on several levels, on fixed tasks, with all that they are measured beside.

    python -m benchmarks.planning           # trains and plans what is not there yet, then prints the tables
    python -m benchmarks.planning --table   # only prints
    python -m benchmarks.planning --tasks   # draws benchmarks/tasks anew

A seed decides the episodes, the weights and the planner; the tasks in `benchmarks/tasks` are the same for all seeds, and none
is solved where it begins. Stopped at any place, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.seeds import worldjepa
from modalities.trajectory.geometry import RADIUS
from modalities.trajectory.rooms import RoomsEnv
from worldjepa.world.tasks import TaskSet, write_tasks
from worldjepa.world.trial import wilson

TASKS = Path(__file__).parent / "tasks"
COUNT = 200
WIDE = 0.02
"""Radius of the point where walls are many or new in every world. With the usual one, the two sides of a wall are a third of
a pixel apart for a point that leans on it."""
KINDS = {
    "smaze-near": ("smaze", RADIUS, "near", 40),
    "smaze-any": ("smaze", RADIUS, "any", 150),
    "smaze-far": ("smaze", RADIUS, "far", 150),
    "random_doors-any": ("random_doors", WIDE, "any", 100),
    "snake-far": ("snake", WIDE, "far", 250),
}
"""For each file of tasks the layout, the radius of the point, the kind and the budget."""

LARGE = [
    *(f"data.radius={WIDE}", "data.turn=0.05", "run.eval_every=null", "probe.enabled=false"),
    *("arch.dim=64", "arch.encoder.hidden=256", "arch.predictor.dim=256", "arch.predictor.depth=3"),
]
"""Walls that are new in every world, or many, take a larger model, and episodes in which the point leans on them for longer.
Nothing is measured while it learns: its time is counted."""
DOORS = ["data.layout=random_doors", "data.episodes=12000", *LARGE]
SNAKE = ["data.layout=snake", *LARGE]
LEVELS = "preset=quickstart_levels"


class Model(NamedTuple):
    """How a model is trained."""

    words: list[str]
    base: str | None = None
    """The model whose levels are trained on top."""


MODELS = {
    "smaze": Model(["data.layout=smaze"]),
    "smaze-two": Model(["data.layout=smaze", LEVELS], "smaze"),
    "random_doors": Model([*DOORS, "run.steps=2500"]),
    "random_doors-two": Model([*DOORS, LEVELS], "random_doors"),
    "snake": Model([*SNAKE, "data.episodes=12000", "run.steps=2500"]),
    "snake-three": Model(
        [*SNAKE, LEVELS, "levels=three_on_top", "data.episodes=4000", "run.steps=1200"],
        "snake",
    ),
}


class Row(NamedTuple):
    """What is measured."""

    name: str
    tasks: str
    model: str
    words: list[str]


SPENT = "processor_seconds.json"
"""In a run folder: what training cost, where it was not cut off."""
FLAT = ["levels=1"]
LANDMARKS = "cost=landmarks"
ROWS = [
    Row("flat", "smaze-near", "smaze", FLAT),
    Row("flat, nearest step counts", "smaze-near", "smaze", [*FLAT, "reduce=min"]),
    Row("two levels", "smaze-near", "smaze-two", []),
    Row("flat", "smaze-any", "smaze", FLAT),
    Row("two levels", "smaze-any", "smaze-two", []),
    Row("flat, twice the candidates", "smaze-far", "smaze", [*FLAT, "samples=256"]),
    Row("flat, 60 steps ahead", "smaze-far", "smaze", [*FLAT, "horizon=60", "execute=6", "reduce=min"]),
    Row("two levels", "smaze-far", "smaze-two", []),
    Row("flat, landmarks", "smaze-far", "smaze", [*FLAT, LANDMARKS]),
    Row("two levels, landmarks", "smaze-far", "smaze-two", [LANDMARKS]),
    Row("flat", "random_doors-any", "random_doors", FLAT),
    Row("two levels", "random_doors-any", "random_doors-two", []),
    Row("two levels, landmarks", "snake-far", "snake-three", ["levels=2", "above=8", LANDMARKS]),
    Row("three levels, landmarks", "snake-far", "snake-three", ["above=3,4", LANDMARKS]),
    Row("flat, landmarks", "snake-far", "snake", [*FLAT, LANDMARKS]),
]


def draw_tasks() -> None:
    """Write the files of tasks."""
    TASKS.mkdir(exist_ok=True)
    for name, (layout, radius, kind, budget) in KINDS.items():
        env = RoomsEnv(layout, radius=radius)
        write_tasks(TASKS / f"{name}.json", TaskSet(kind, budget, env.settings({}), env.tasks(kind, COUNT, seed=0)))


def trained(out: Path, name: str, seed: int) -> Path:
    """The run folder of a model, trained if it is not there."""
    model, folder = MODELS[name], out / f"{name}-{seed}"
    if not (folder / "report.json").exists():
        below = [] if model.base is None else [f"run.init_from={trained(out, model.base, seed)}"]
        begun = folder.exists()
        fixed = ["modality=trajectory", f"seed={seed}", f"data.seed={seed}", "run.threads=1", "run.resume=auto"]
        spent = worldjepa("train", *fixed, *model.words, *below, f"run.out={folder}")
        if not begun:
            (folder / SPENT).write_text(json.dumps(spent))
    return folder


def planned(out: Path, row: Row, seed: int) -> Path:
    """The file with what came of a row, measured if it is not there."""
    folder = out / f"{slug(row)}-{seed}"
    if not (folder / "plan.json").exists():
        fixed = [f"checkpoint={trained(out, row.model, seed)}", f"tasks={TASKS / row.tasks}.json", f"count={COUNT}"]
        worldjepa("plan", *fixed, *row.words, f"seed={seed}", "threads=1", f"out={folder}")
    return folder / "plan.json"


def slug(row: Row) -> str:
    """A name for a folder."""
    return f"plan-{row.tasks}-{row.name.replace(', ', '-').replace(' ', '_')}"


def main() -> None:
    """Measure what is missing and print the tables of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/planning"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="only rows whose tasks begin so")
    parser.add_argument("--table", action="store_true", help="measure nothing, only show what there is")
    parser.add_argument("--tasks", action="store_true", help="draw the tasks anew and do nothing else")
    options = parser.parse_args()
    if options.tasks:
        draw_tasks()
        return
    rows = [row for row in ROWS if row.tasks.startswith(options.only)]
    if not options.table:
        for seed in options.seeds:
            for row in rows:
                planned(options.out, row, seed)
    show(options.out, rows, options.seeds)


def show(out: Path, rows: list[Row], seeds: list[int]) -> None:
    """Print the tables in Markdown."""
    console = Console(width=200)
    models, plans = Table(box=MARKDOWN), Table(box=MARKDOWN)
    table(models, ("model", "probe R2", "error after 10", "30", "60 steps", "seconds of training", "of the processor"))
    table(plans, ("tasks", "who", "success %, all seeds", "each seed", "steps", "evaluations", "seconds a plan"))
    for name in MODELS:
        line = told_of_model(out, name, rows, seeds)
        if line:
            models.add_row(*line)
    for tasks in dict.fromkeys(row.tasks for row in rows):
        mine = [row for row in rows if row.tasks == tasks]
        found = {row.name: results(out, row, seeds) for row in mine}
        some = next((values for values in found.values() if values), None)
        if some is None:
            continue
        for who in ("random", "shortest way"):
            plans.add_row(tasks, who, *told([value["actors"][who] for value in some]), "")
        for name, values in found.items():
            if values:
                actors = [next(iter(value["actors"].values())) for value in values]
                seconds = statistics.mean(value["seconds_per_plan"] for value in values)
                plans.add_row(tasks, name, *told(actors), f"{seconds:.2f}")
    console.print(models)
    console.print(plans)


def table(empty: Table, headings: tuple[str, ...]) -> None:
    """Add the columns."""
    for heading in headings:
        empty.add_column(heading)


def results(out: Path, row: Row, seeds: list[int]) -> list[dict[str, Any]]:
    """What was measured of a row, for the seeds that are done."""
    files = [out / f"{slug(row)}-{seed}" / "plan.json" for seed in seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def told(actors: list[dict[str, Any]]) -> list[str]:
    """Success over all seeds and of each, steps where solved, evaluations."""
    solved, tasks = sum(round(a["success"] * a["tasks"]) for a in actors), sum(a["tasks"] for a in actors)
    steps = [a["steps"] for a in actors if a["steps"] is not None]
    each = ", ".join(f"{100 * a['success']:.1f}" for a in actors)
    evaluations = statistics.mean(a["evaluations"] for a in actors)
    return [str(wilson(solved, tasks)), each, f"{statistics.mean(steps):.0f}" if steps else "", f"{evaluations:,.0f}"]


def told_of_model(out: Path, name: str, rows: list[Row], seeds: list[int]) -> list[str] | None:
    """What training took, for each seed, and probe and imagination of the lowest level, which levels on top leave as it is."""
    folders = [out / f"{name}-{seed}" for seed in seeds]
    trained = [folder for folder in folders if (folder / "report.json").exists()]
    if not trained:
        return None
    found = next((some for some in (results(out, row, seeds) for row in rows if row.model == name) if some), [])
    below = MODELS[name].base is not None or not found
    errors = [", ".join(f"{value['open_loop_error'][str(h)]:.3f}" for value in found) for h in (10, 30, 60)]
    probes = ", ".join(f"{value['probe_r2']:.4f}" for value in found)
    seconds = [json.loads((folder / "report.json").read_text())["trained_seconds"] for folder in trained]
    spent = [json.loads(file.read_text()) for file in (folder / SPENT for folder in trained) if file.exists()]
    times = [", ".join(f"{value:.0f}" for value in values) for values in (seconds, spent)]
    return [name, *(["", "", "", ""] if below else [probes, *errors]), *times]


if __name__ == "__main__":
    main()
