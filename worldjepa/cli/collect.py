"""`worldjepa collect`: record episodes in an environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import natural, number, sort, whole
from worldjepa.cli.simulated import open_environment

HELP = """
usage: worldjepa collect env=NAME episodes=NUMBER out=FOLDER [env.KEY=VALUE ...] [steps=60] [seed=0] [persistent=0.9]
                         [turn=0.1] [shake=0.15] [--config-dir DIR ...]

Records episodes of a random policy, one file each; `worldjepa train modality=trajectory data.root=FOLDER` learns from them. The
same command goes on where it was stopped, to the same bytes, and with more episodes= it adds to them.

  env=rooms          the embedded worlds of rooms; env.layout=smaze and so on are keys of data=rooms
  env=gymnasium:ID   any environment of gymnasium with box-shaped actions (pip install worldjepa[gymnasium]); env.key= chooses
                     among several observations, env.view=pixels env.size=64 takes what is drawn instead
  episodes=NUMBER    how many the folder shall hold
  steps=60           actions in each
  seed=0             decides all of them
  persistent=0.9     share of episodes that keep their direction; the others are white noise
  turn=0.1           chance of a new direction in a step
  shake=0.15         standard deviation of the noise on every action
"""

_OWN = ("env", "episodes", "out", "steps", "seed", "persistent", "turn", "shake")


def run(words: Sequence[str]) -> int:
    """Record what the words ask for.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, or the folder holds other episodes.
    """
    arguments = parse(words)
    own, overrides = sort("collect", arguments.words, _OWN, ("env",), needed=("env", "episodes", "out"))
    environment, settings = open_environment(own["env"], overrides, arguments.config_dirs)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from worldjepa.train.logs import screen_console
    from worldjepa.world.behaviour import checked_wander
    from worldjepa.world.record import collect

    policy = checked_wander(number(own, "persistent", 0.9), number(own, "turn", 0.1), number(own, "shake", 0.15))
    episodes, out = whole(own, "episodes") or 0, Path(own["out"]).expanduser()
    console = screen_console()
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("record", total=episodes)
        made = collect(
            environment,
            policy,
            out,
            episodes,
            whole(own, "steps") or 60,
            natural(own, "seed", 0),
            {**settings, **policy._asdict()},
            lambda done: bar.update(task, completed=done),
        )
    console.print(f"{made} episodes recorded, {episodes} in {out}")
    return 0
