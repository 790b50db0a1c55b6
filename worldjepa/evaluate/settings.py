"""Typed settings of the group `probe` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ProbeSettings:
    """What the evaluations during and after training measure."""

    enabled: bool = True
    knn_k: int = 20
    knn_temperature: float = 0.07
    batch_size: int = 256
    max_train: int | None = 10_000
    """Most labelled training samples to embed; None takes all."""
    max_test: int | None = 10_000
    on_alarm: Literal["warn", "stop", "ignore"] = "warn"
    """What to do when rank or variance of the representations falls away: say so, save and exit with 77, nothing."""
