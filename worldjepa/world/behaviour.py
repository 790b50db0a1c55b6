"""How episodes are made that a world model can learn from: actions that go somewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from worldjepa.errors import UserError
from worldjepa.world.noise import normal, uniform

KIND, TURN, WAY, SIZE, SHAKE, WHITE = 11, 12, 13, 14, 15, 16
"""Keys of what is drawn at random in an episode."""


class Wander(NamedTuple):
    """A random policy that mixes two kinds of episodes.

    Most keep a direction and a strength of their own until they turn; the others are white noise. With white noise alone an
    episode stays near its start, and stretches of actions lead nowhere.
    """

    persistent: float = 0.9
    """Share of episodes that keep their direction."""
    turn: float = 0.1
    """Chance of a new direction in a step."""
    shake: float = 0.15
    """Standard deviation of what is added to every action, in units of half the range of actions."""

    def actions(
        self, seeds: Int64[ndarray, " B"], steps: int, low: Float[ndarray, " A"], high: Float[ndarray, " A"]
    ) -> Float64[ndarray, "B {steps} A"]:
        """The actions of B episodes, one after another; a function of the seeds."""
        width = len(low)
        keeps = uniform(seeds, KIND) < self.persistent  # [B, 1]
        made = np.empty((len(seeds), steps, width))
        way = np.zeros((len(seeds), width))
        for step in range(steps):
            turns = (uniform(seeds, TURN, step) < self.turn) | (step == 0)
            there = normal(seeds, WAY, step, count=width)
            there *= uniform(seeds, SIZE, step) ** 0.5 / np.maximum(1e-9, np.linalg.norm(there, axis=-1, keepdims=True))
            way = np.where(turns, there, way)
            steady = way + self.shake * normal(seeds, SHAKE, step, count=width)
            made[:, step] = np.where(keeps, steady, 2 * uniform(seeds, WHITE, step, count=width) - 1)
        inside: Float64[ndarray, "B {steps} A"] = low + (np.clip(made, -1, 1) + 1) / 2 * (high - low)
        return inside


def checked_wander(persistent: float, turn: float, shake: float) -> Wander:
    """Build a policy.

    Raises:
        UserError: a value is out of its range.
    """
    if not 0 <= persistent <= 1 or not 0 < turn <= 1 or shake < 0:
        raise UserError(
            f"persistent must be in [0, 1], turn in (0, 1] and shake not negative: persistent={persistent}, turn={turn}, "
            f"shake={shake}"
        )
    return Wander(float(persistent), float(turn), float(shake))
