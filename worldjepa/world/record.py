"""Recording episodes in an environment, to memory or to a folder that goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from worldjepa.errors import Unsaved, UserError
from worldjepa.world.behaviour import Wander
from worldjepa.world.environment import Environment
from worldjepa.world.episodes import Episode, write_npz

SETTINGS = "collect.json"
"""The file that says what a folder of episodes was recorded with."""
GYM = "gymnasium:"
"""How the names of gymnasium's environments begin, in words and in that file."""
TOGETHER = 32
"""Episodes that are recorded side by side."""


def seeds_of(seed: int, numbers: range) -> Int64[ndarray, " B"]:
    """The seed of each episode of a collection; collections with other seeds share none up to a million episodes."""
    return np.int64(seed) * 1_000_003 + np.arange(numbers.start, numbers.stop, dtype=np.int64)


def record(environment: Environment, policy: Wander, seeds: Int64[ndarray, " B"], steps: int) -> list[Episode]:
    """Record an episode for each seed, `TOGETHER` at a time; it ends early where the environment says that it has ended."""
    parts = [seeds[first : first + TOGETHER] for first in range(0, len(seeds), TOGETHER)]
    return [episode for part in parts for episode in _side_by_side(environment, policy, part, steps)]


def _side_by_side(environment: Environment, policy: Wander, seeds: Int64[ndarray, " B"], steps: int) -> list[Episode]:
    actions = policy.actions(seeds, steps, environment.low, environment.high).astype(np.float32)
    seen = [environment.reset(seeds)]
    states = [environment.state()]
    length = np.full(len(seeds), steps)
    over = np.zeros(len(seeds), bool)
    for step in range(steps):
        seen.append(environment.step(actions[:, step]))
        states.append(environment.state())
        ended = environment.ended()
        if ended is not None:
            length = np.where(ended & ~over, step + 1, length)
            over |= ended
    frames = np.stack(seen, 1)  # [B, T, ...]
    bodies = None if states[0] is None else np.stack([state for state in states if state is not None], 1)
    return [
        Episode(
            frames[i, : length[i] + 1],
            actions[i, : length[i]],
            None if bodies is None else bodies[i, : length[i] + 1].astype(np.float32),
            bool(over[i]),
        )
        for i in range(len(seeds))
    ]


def whole(episodes: list[Episode], steps: int) -> list[Episode]:
    """Those that did not end early."""
    return [episode for episode in episodes if len(episode.actions) == steps]


def collect(
    environment: Environment,
    policy: Wander,
    out: Path,
    episodes: int,
    steps: int,
    seed: int,
    settings: Mapping[str, Any],
    tell: Callable[[int], None] = lambda done: None,
) -> int:
    """Record episodes into a folder, one file each; those that are there already are kept.

    What an episode holds depends on the settings, the seed and its number alone, so a folder that was stopped and went on is
    the same as one that was not.

    Args:
        environment: where to record.
        policy: what to do there.
        out: the folder; it is made.
        episodes: how many the folder shall hold.
        steps: actions in each.
        seed: decides all of them.
        settings: what the environment and the policy were made with; kept beside the episodes.
        tell: is told how many episodes the folder holds.

    Returns:
        How many episodes were recorded now.

    Raises:
        UserError: the folder holds episodes of other settings, or something else.
        Unsaved: the disk does not take it.
    """
    everything = {**settings, "steps": steps, "seed": seed}
    _claim(out, json.loads(json.dumps(everything)))
    made = 0
    for first in range(0, episodes, TOGETHER):
        numbers = range(first, min(first + TOGETHER, episodes))
        missing = [number for number in numbers if not place(out, number).is_file()]
        if missing:
            some = range(missing[0], missing[-1] + 1)
            for number, episode in zip(some, record(environment, policy, seeds_of(seed, some), steps), strict=True):
                if number in missing:
                    write_npz(place(out, number), episode)
                    made += 1
        tell(numbers.stop)
    return made


def place(out: Path, number: int) -> Path:
    """The file of an episode."""
    return out / f"episode-{number:07d}.npz"


def _claim(out: Path, settings: dict[str, Any]) -> None:
    file = out / SETTINGS
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    if file.is_file():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file} is damaged: {error}") from error
        differing = [key for key in sorted({*before, *settings}) if before.get(key) != settings.get(key)]
        if differing:
            key = differing[0]
            raise UserError(
                f"out={out} holds episodes with {key}={before.get(key)}, not {settings.get(key)}: choose another folder"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"out={out} holds something else: choose an empty folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unsaved(f"{file} could not be written: {error.strerror or error}") from error
