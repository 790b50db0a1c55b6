"""`worldjepa plan`: act with a trained world model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import natural, number, place, sort, whole
from worldjepa.errors import UserError, unknown

HELP = """
usage: worldjepa plan checkpoint=PATH [out=FOLDER] [tasks=any|FILE.json] [count=32] [budget=100] [env.KEY=VALUE ...]
                      [planner=cem] [top=cem] [samples=128] [iterations=4] [horizon=12] [execute=3] [cost=l2] [reduce=sum]
                      [uncertainty=0] [space=box] [levels=K] [above=10] [seed=0] [whole=false] [allow=PREFIX]

Does tasks in the environment that a world model was trained in, by planning in imagination, and shows how often it succeeds
beside a random policy and, where it is known, the shortest way, with 95 % intervals; also how well representations tell the
state, how far imagination goes astray, and whether the model is surprised by what cannot have happened.

  checkpoint=PATH    a run folder or a checkpoint of `worldjepa train modality=trajectory`
  out=FOLDER         write plan.json, tasks.json and, of worlds of rooms, episodes.png and episode.gif; it is made
  tasks=any          near, any or far, drawn from seed= (of data=gym: the goal is where some random steps lead);
                     or a file of tasks, which brings its own budget
  count=32           how many tasks
  budget=100         steps that an episode may take
  env.KEY=VALUE      another world than that of training, such as env.layout=smaze
  planner=cem        or mppi, gradient, random, tree (spreads to where it has not been: for mazes)
  top=cem            the same for the highest of several levels; unless it is given, it is that of planner=
  samples=, iterations=   candidates of an iteration, and how many iterations (steps, for planner=gradient; a tree has none)
  horizon=12         steps of the model to plan; execute=3 of them are carried out before the next plan
  cost=l2            or l1, cosine: distance to the goal in representation space; reach: learned from episodes how many steps;
                     landmarks: the shortest way over states of episodes
  reduce=sum         over the steps of a plan: sum, last or min
  uncertainty=0      weight of how far the members of predictor=ensemble_mlp lie apart; with several levels it counts where
                     the lowest makes straight for the goal
  space=box          candidates from the bounds of the training actions; bank: from stretches of episodes
  levels=K           plan on the K lowest levels of the model: all that it has; levels=1 plans flat
  above=10           steps to plan on each level above the lowest, such as 3,10 for two of them; unless they are given, a level
                     plans as far as one step of the level above it reaches
  whole=true         go on to the end of the budget, to see who stays at the goal
  threads=1          processor threads
"""

_OWN = (
    *("checkpoint", "out", "tasks", "count", "budget", "planner", "top", "samples", "iterations", "horizon", "execute"),
    *("levels", "above", "cost", "reduce", "uncertainty", "space", "seed", "whole", "allow", "threads"),
)
PLANNERS = ("cem", "mppi", "gradient", "random", "tree")
COSTS = ("l2", "l1", "cosine", "reach", "landmarks")
SPACES = ("box", "bank")
REDUCE = ("sum", "last", "min")


def run(words: Sequence[str]) -> int:
    """Plan with the checkpoint that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, or the checkpoint is no world model that can act.
    """
    arguments = parse(words)
    own, overrides = sort("plan", arguments.words, _OWN, ("env",), needed=("checkpoint",))
    choices = {"planner": PLANNERS, "cost": COSTS, "space": SPACES, "reduce": REDUCE, "whole": ("true", "false")}
    chosen = {key: own.get(key, "false" if key == "whole" else allowed[0]) for key, allowed in choices.items()}
    chosen["top"] = own.get("top", chosen["planner"])
    for key, allowed in {**choices, "top": PLANNERS}.items():
        if chosen[key] not in allowed:
            raise unknown(key, chosen[key], allowed)
    tasks = own.get("tasks", "any")
    checkpoint = place(own)
    out = Path(own["out"]).expanduser() if own.get("out") else None
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    uncertainty = number(own, "uncertainty", 0.0)
    if not 0 <= uncertainty < math.inf:
        raise UserError(f"uncertainty={own['uncertainty']}: must be 0 or more")
    from worldjepa.cli.agents import Wanted
    from worldjepa.cli.planning import plan

    wanted = Wanted(
        tasks=tasks,
        number=whole(own, "count") or 32,
        budget=whole(own, "budget"),
        planner=chosen["planner"],
        top=chosen["top"],
        samples=whole(own, "samples"),
        iterations=whole(own, "iterations"),
        horizon=whole(own, "horizon"),
        execute=whole(own, "execute") or 3,
        levels=whole(own, "levels"),
        above=numbers(own.get("above", "")),
        cost=chosen["cost"],
        reduce=chosen["reduce"],
        uncertainty=uncertainty,
        space=chosen["space"],
        seed=natural(own, "seed", 0),
        whole=chosen["whole"] == "true",
        threads=whole(own, "threads"),
    )
    allow = [prefix for prefix in own.get("allow", "").split(",") if prefix]
    return plan(checkpoint, overrides, arguments.config_dirs, out, wanted, allow)


def numbers(text: str) -> tuple[int, ...]:
    """The whole numbers of `above=4,10`.

    Raises:
        UserError: something is no number, or not positive.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"above={text}: give whole numbers above 0, such as above=10 or above=4,10")
    return tuple(map(int, parts))
