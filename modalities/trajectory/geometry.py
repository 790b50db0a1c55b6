"""How a point moves among walls, and the shortest way from one point to another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

RADIUS = 0.005
"""How near to a wall or to the border the point can come, unless it is told otherwise."""
CLEARANCE = 0.02
"""How near to the end of a door the shortest way passes: a little more than the point needs."""


def move(
    position: Float64[ndarray, "B 2"],
    by: Float64[ndarray, "B 2"],
    walls: Float64[ndarray, "B W 3"],
    radius: float = RADIUS,
) -> Float64[ndarray, "B 2"]:
    """Where each point stands after it was pushed; what runs into a wall slides along it.

    A push must be shorter than the distance between two walls. `radius` is how near the point can come to a wall or the border.
    """
    to = np.clip(position + by, radius, 1 - radius)
    for wall in range(walls.shape[1]):
        x, low, high = walls[:, wall].T
        came_from, at = np.where(position[:, 0] < x, -1.0, 1.0), crossing_height(position, to, x)
        shut = ((position[:, 0] - x) * (to[:, 0] - x) < 0) & ((at < low) | (at > high))
        to[:, 0] = np.where(shut, x + came_from * radius, to[:, 0])
        # What leaves the doorway along the wall is put beside it, on the side that it was leaving to.
        inside = (np.abs(to[:, 0] - x) < radius) & ((to[:, 1] < low) | (to[:, 1] > high))
        to[:, 0] = np.where(inside, x + np.where(to[:, 0] < x, -radius, radius), to[:, 0])
    return to


def crossing_height(
    start: Float64[ndarray, "B 2"], end: Float64[ndarray, "B 2"], x: Float64[ndarray, " B"]
) -> Float64[ndarray, " B"]:
    """The y at which the line from start to end passes x; the start's own where the line is vertical."""
    run = end[:, 0] - start[:, 0]
    share = np.divide(x - start[:, 0], run, out=np.zeros_like(run), where=run != 0)
    return start[:, 1] + share * (end[:, 1] - start[:, 1])


class Way(NamedTuple):
    """The shortest way: its length, and the point to make for first."""

    length: Float64[ndarray, " B"]
    first: Float64[ndarray, "B 2"]


def shortest_way(
    walls: Float64[ndarray, "B W 3"], start: Float64[ndarray, "B 2"], goal: Float64[ndarray, "B 2"]
) -> Way:
    """The shortest way from start to goal that keeps `CLEARANCE` from the ends of the doors.

    It bends at ends of doors only, so it is the shortest path in the graph of start, goal and those ends, where an edge joins
    what sees one another.
    """
    b, w = walls.shape[:2]
    # Seen from the start, walls come one after another: from right to left where the goal lies to the left.
    order = np.where((goal[:, 0] < start[:, 0])[:, None], np.arange(w)[::-1], np.arange(w))
    walls = np.take_along_axis(walls, order[..., None], 1)
    between = (walls[..., 0] - start[:, :1]) * (walls[..., 0] - goal[:, :1]) < 0  # [B, W]
    ends = [
        np.stack([walls[:, i, 0], walls[:, i, 1 + k] + (CLEARANCE, -CLEARANCE)[k]], -1)
        for i in range(w)
        for k in (0, 1)
    ]
    nodes = [start, *ends, goal]
    wall_of = [-1, *(i for i in range(w) for _ in (0, 1)), w]
    there = [np.ones(b, bool), *(between[:, i] for i in wall_of[1:-1]), np.ones(b, bool)]

    length = [np.full(b, np.inf) for _ in nodes]
    first = [goal.copy() for _ in nodes]
    length[-1] = np.zeros(b)
    for i in range(len(nodes) - 2, -1, -1):
        for j in range(i + 1, len(nodes)):
            if wall_of[i] == wall_of[j]:
                continue
            usable = there[i] & there[j] & _sees(walls, between, nodes[i], nodes[j], range(wall_of[i] + 1, wall_of[j]))
            through = np.where(usable, np.linalg.norm(nodes[i] - nodes[j], axis=-1) + length[j], np.inf)
            better = through < length[i]
            length[i] = np.where(better, through, length[i])
            first[i] = np.where(better[:, None], nodes[j], first[i])
    return Way(length[0], first[0])


def _sees(
    walls: Float64[ndarray, "B W 3"],
    between: Bool[ndarray, "B W"],
    start: Float64[ndarray, "B 2"],
    end: Float64[ndarray, "B 2"],
    passed: range,
) -> Bool[ndarray, " B"]:
    """Whether the line from start to end goes through the doors of the walls that it passes."""
    clear = np.ones(len(start), bool)
    for wall in passed:
        x, low, high = walls[:, wall].T
        at = crossing_height(start, end, x)
        open_ = (at >= low + CLEARANCE - 1e-9) & (at <= high - CLEARANCE + 1e-9)
        clear &= open_ | ~between[:, wall]
    return clear
