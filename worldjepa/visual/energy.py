"""The energy of first actions: how near to its goal a world model believes that each of them leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.visual.colours import heat
from worldjepa.visual.sheet import PAPER, Cell, Shown, legend, sheet, sized, spread
from worldjepa.world.costs import Cost
from worldjepa.world.model import Frames, WorldModel

SIDE = 168
"""Pixels of a landscape."""
INK, LEAST, REAL = (20, 20, 20), (255, 255, 255), (224, 112, 26)
"""Edges of marks; the least energy's and the planner's filling; that of the real direction."""


@torch.no_grad()
def landscape(
    model: WorldModel, history: Frames, goal: Float[Tensor, "B n D"], cost: Cost, hold: int, side: int
) -> tuple[Float[Tensor, "B side2 side2"], Float[Tensor, "{side} 2"]]:
    """The cost of every action of a square grid over the bounds, done for `hold` steps of the model.

    Args:
        model: imagines.
        history: what was seen.
        goal: representations to reach.
        cost: judges.
        hold: for how many steps an action is done.
        side: actions along each side of the grid, at least 2.

    Returns:
        The energies, by the second number of the action (rows) and the first (columns); and the values of the two numbers
        along each side.

    Raises:
        UserError: actions have not two numbers, or a number is too small.
    """
    spec = model.actions
    if spec.dim != 2:
        raise UserError(f"energy draws actions of two numbers, but here they have {spec.dim}")
    if hold < 1 or side < 2:
        raise UserError(f"hold must be at least 1 and side at least 2: hold={hold}, side={side}")
    share = torch.linspace(0, 1, side)[:, None]
    values = spec.low + share * (spec.high - spec.low)  # [side, 2]
    y, x = torch.meshgrid(values[:, 1], values[:, 0], indexing="ij")
    actions = torch.stack([x, y], -1).flatten(0, 1)  # [side*side, 2]
    held = actions.repeat(1, spec.repeat)[:, None].expand(-1, hold, -1)  # [S, H, W]
    energies = []
    for row in range(len(goal)):  # one by one: a grid has many candidates
        state = None if history.state is None else history.state[row : row + 1]
        one = Frames(history.x[row : row + 1], history.pos, state)
        energies.append(cost(model.rollout(one, held[None]), goal[row : row + 1]))
    return torch.cat(energies).reshape(len(goal), side, side), values


def least(energy: Float[Tensor, "B H W"], values: Float[Tensor, "S 2"]) -> Float64[ndarray, "B 2"]:
    """The action of the least energy."""
    side = len(values)
    where = energy.flatten(1).argmin(1)
    return torch.stack([values[where % side, 0], values[where // side, 1]], -1).double().numpy()


def angles(one: Float[ndarray, "B 2"], other: Float[ndarray, "B 2"]) -> Float64[ndarray, " B"]:
    """Degrees between directions, 0 to 180; not a number where there is none."""
    length = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = (one * other).sum(-1) / np.where(length > 1e-9, length, np.nan)
    return np.asarray(np.degrees(np.arccos(cosine.clip(-1, 1))), np.float64)


def energy_picture(
    model: WorldModel,
    history: Frames,
    goal: Float[Tensor, "B n D"],
    cost: Cost,
    scenes: UInt8[ndarray, "B H W 3"],
    hold: int = 4,
    side: int = 21,
    planned: Float[ndarray, "B 2"] | None = None,
    real: Float[ndarray, "B 2"] | None = None,
    shown: int = 6,
) -> Shown:
    """Landscapes of the energy beside what is seen, with the least one, the planner's choice and the real direction.

    Args:
        model: imagines.
        history: what was seen in each task.
        goal: the representations to reach.
        cost: judges.
        scenes: a picture of each task, x to the right and y downwards like the landscape.
        hold: for how many steps an action is done.
        side: actions along each side.
        planned: the first action of a plan, for each task.
        real: the direction to the goal, for each task, where it is known.
        shown: how many tasks are shown; numbers are of all.

    Raises:
        UserError: see `landscape`.
    """
    energy, values = landscape(model, history, goal, cost, hold, side)
    best = least(energy, values)
    apart = None if real is None else angles(best, real)
    of_plan = None if real is None or planned is None else angles(planned, real)
    pictures = sized(scenes, SIDE)
    cells = []
    for task in range(min(shown, len(energy))):
        one = energy[task].numpy()
        low, high = float(one.min()), float(one.max())
        map_ = spread(heat(one, low, high), SIDE, SIDE)
        marks = [("ring", best[task]), *([] if planned is None else [("square", planned[task])])]
        marks += [] if real is None else [("line", real[task])]
        told = f"{low:.3g} to {high:.3g}"
        told += "" if apart is None or np.isnan(apart[task]) else f"; {apart[task]:.0f} degrees off"
        cells.append(
            [Cell(pictures[task], f"task {task + 1}, its goal in green"), Cell(_marked(map_, marks, values), told)]
        )
    rows = [[cell for pair in cells[start : start + 2] for cell in pair] for start in range(0, len(cells), 2)]
    rows.append([legend(f"energy after an action for {hold} steps", "least", "most of each landscape")])
    numbers: dict[str, Any] = {
        "tasks": len(energy),
        "hold": hold,
        "side": side,
        "least": best.tolist(),
        "planned": None if planned is None else planned.tolist(),
        "real": None if real is None else real.tolist(),
        "angle": None if apart is None else _plain(apart),
        "angle_of_plan": None if of_plan is None else _plain(of_plan),
        "mean_angle": _over_known(np.mean, apart),
        "median_angle": _over_known(np.median, apart),
        "median_angle_of_plan": _over_known(np.median, of_plan),
    }
    title = "energy of first actions: ring the least, square the planner's, line the real direction"
    return Shown(sheet(rows, title), _words(numbers), numbers)


def _plain(values: Float64[ndarray, " B"]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _over_known(what: Callable[[Float64[ndarray, " B"]], Any], values: Float64[ndarray, " B"] | None) -> float | None:
    """A statistic of the numbers that there are; None where there are none."""
    known = np.zeros(0) if values is None else values[~np.isnan(values)]
    return float(what(known)) if len(known) else None


def _marked(
    picture: UInt8[ndarray, "H W 3"], marks: list[tuple[str, Float[ndarray, " 2"]]], values: Float[Tensor, "S 2"]
) -> UInt8[ndarray, "H W 3"]:
    """A landscape with marks at actions; a line leads from no action at all in a direction."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    pen, side = ImageDraw.Draw(image), len(values)
    low, high = values[0].numpy(), values[-1].numpy()

    def at(action: Float[ndarray, " 2"]) -> tuple[float, float]:
        share = (np.clip(action, low, high) - low) / (high - low)
        x, y = (share * (side - 1) + 0.5) / side * (SIDE - 1)
        return float(x), float(y)

    for kind, action in marks:
        x, y = at(action)
        if kind == "line":
            length = float(np.linalg.norm(action))
            if length > 1e-9:  # longer than the bounds it ends at them
                end = at(action / length * 0.75 * float(np.abs(np.stack([low, high])).min()))
                pen.line((*at(np.zeros(2)), *end), fill=INK, width=5)
                pen.line((*at(np.zeros(2)), *end), fill=REAL, width=3)
        elif kind == "ring":
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), outline=INK, width=4)
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline=LEAST, width=2)
        else:
            pen.rectangle((x - 3, y - 3, x + 3, y + 3), fill=PAPER, outline=INK)
    return np.asarray(image)


def _words(numbers: dict[str, Any]) -> str:
    lines = [
        f"energy of {numbers['side']} x {numbers['side']} actions, each for {numbers['hold']} steps; {numbers['tasks']} tasks"
    ]
    if numbers["median_angle"] is not None:
        lines.append(
            f"angle between the least energy and the real direction: median {numbers['median_angle']:.1f} degrees, mean "
            f"{numbers['mean_angle']:.1f}; chance is 90"
        )
    if numbers["median_angle_of_plan"] is not None:
        lines.append(f"angle of the planner's first action: median {numbers['median_angle_of_plan']:.1f} degrees")
    return "\n".join(lines)
