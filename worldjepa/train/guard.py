"""What to do with a step whose numbers went wrong: a pure function of the run's recent gradient norms."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

WINDOW = 64
"""Steps that a gradient norm is compared with."""
EVIDENCE = 16
"""Steps before which no gradient counts as a spike."""

SpikePolicy = Literal["flag", "clip", "skip"]


class Verdict(NamedTuple):
    """What becomes of a step."""

    take: bool
    """False leaves weights, target and optimiser as they are."""
    spike: float | None = None
    """The usual gradient norm, if this one is far above it."""
    clip: float | None = None
    """Scale the gradient down to this norm first."""


class Guard:
    """Judges each step by its loss and its gradient's norm. All processes see the same numbers and agree.

    Args:
        max_bad_steps: how many steps in a row may be skipped for numbers that are not finite.
        spike_factor: a norm above this many times the median of the last `WINDOW` is a spike.
        on_spike: only say so, scale the gradient down to the median, or skip the step.
    """

    def __init__(self, max_bad_steps: int, spike_factor: float, on_spike: SpikePolicy) -> None:
        self.max_bad_steps = max_bad_steps
        self.spike_factor = spike_factor
        self.on_spike = on_spike
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.streak = 0
        self.skipped = 0
        self.spikes = 0

    @property
    def given_up(self) -> bool:
        """Whether too many steps in a row were skipped."""
        return self.streak >= self.max_bad_steps

    def judge(self, norm: float, finite: bool) -> Verdict:
        """Judge a step.

        Args:
            norm: the norm of the whole gradient, before clipping.
            finite: whether the losses of all processes are numbers.
        """
        if not finite or not math.isfinite(norm):
            self.streak += 1
            self.skipped += 1
            return Verdict(take=False)
        self.streak = 0
        usual = statistics.median(self.norms) if len(self.norms) >= EVIDENCE else math.inf
        if norm <= self.spike_factor * usual:
            self.norms.append(norm)
            return Verdict(take=True)
        self.spikes += 1
        # The spike itself is remembered too: if norms stay up, they become the usual ones.
        self.norms.append(norm)
        if self.on_spike == "skip":
            self.skipped += 1
            return Verdict(take=False, spike=usual)
        return Verdict(take=True, spike=usual, clip=usual if self.on_spike == "clip" else None)

    def state(self) -> dict[str, Any]:
        """Everything that later verdicts depend on, as plain JSON values."""
        return {"norms": list(self.norms), "streak": self.streak, "skipped": self.skipped, "spikes": self.spikes}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        norms: Sequence[float] = state["norms"]
        self.norms = deque(norms, maxlen=WINDOW)
        self.streak, self.skipped, self.spikes = state["streak"], state["skipped"], state["spikes"]
