"""When the frames of a video are shown, and who chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float64
from numpy import ndarray


class Timeline(NamedTuple):
    """When each frame begins, in seconds, ascending; and when the last one ends."""

    starts: Float64[ndarray, " F"]
    end: float

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.starts)


Choose = Callable[[Timeline], Sequence[int]]
"""Says which frames of a video are wanted, in which order; a frame may be wanted several times.

Raises `worldjepa.errors.Unreadable` for a video that is of no use.
"""
