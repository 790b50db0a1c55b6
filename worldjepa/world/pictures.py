"""Pictures of episodes: where a plan meant to go, and where it led."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw

from worldjepa.errors import Unsaved

REAL, IMAGINED, GOAL, START = (32, 96, 200), (230, 120, 20), (20, 150, 60), (120, 120, 120)
DOT = 3


class Story(NamedTuple):
    """One episode: the states, what was imagined and from which step on, and the goal."""

    path: Float[ndarray, "T S"]
    plans: list[tuple[int, Float[ndarray, "H S"]]]
    goal: Float[ndarray, " S"]


def scene(backdrop: UInt8[ndarray, "size size 3"], story: Story, step: int | None = None) -> Image.Image:
    """The episode up to a step, or all of it: the path in blue, imagined paths in orange, the goal in green.

    At a step only the plan that is being carried out is shown; otherwise every one.
    """
    image = Image.fromarray(backdrop)
    size, pen = image.width, ImageDraw.Draw(image)

    def place(states: Float[ndarray, "T S"]) -> list[tuple[float, float]]:
        return [(float(x) * size, float(y) * size) for x, y in states[:, :2]]

    last = len(story.path) - 1 if step is None else min(step, len(story.path) - 1)
    begun = [plan for plan in story.plans if plan[0] <= last]
    for start, imagined in begun if step is None else begun[-1:]:
        pen.line(place(np.concatenate([story.path[start : start + 1], imagined])), fill=IMAGINED, width=1)
    if last:
        pen.line(place(story.path[: last + 1]), fill=REAL, width=2)
    for state, colour in ((story.path[0], START), (story.goal, GOAL), (story.path[last], REAL)):
        ((x, y),) = place(state[None])
        pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=colour)
    pen.rectangle((0, 0, size - 1, size - 1), outline=START)
    return image


def write_sheet(
    path: Path, backdrops: UInt8[ndarray, "B size size 3"], stories: Sequence[Story], columns: int = 4
) -> None:
    """All episodes side by side, as PNG.

    Raises:
        Unsaved: the disk does not take it.
    """
    size, gap = backdrops.shape[1], 4
    columns = min(columns, len(stories))
    rows = -(-len(stories) // columns)
    sheet = Image.new("RGB", (columns * (size + gap) - gap, rows * (size + gap) - gap), (255, 255, 255))
    for index, story in enumerate(stories):
        row, column = divmod(index, columns)
        sheet.paste(scene(backdrops[index], story), (column * (size + gap), row * (size + gap)))
    _save(sheet, path)


def write_film(path: Path, backdrop: UInt8[ndarray, "size size 3"], story: Story, milliseconds: int = 80) -> None:
    """An episode step by step, as GIF.

    Raises:
        Unsaved: the disk does not take it.
    """
    first, *rest = [scene(backdrop, story, step) for step in range(len(story.path))]
    _save(first, path, save_all=True, append_images=rest, duration=milliseconds, loop=0)


def _save(image: Image.Image, path: Path, **how: Any) -> None:
    try:
        image.save(path, **how)
    except OSError as error:
        raise Unsaved(f"{path} could not be written: {error.strerror or error}") from error
