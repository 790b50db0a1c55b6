"""Timing two pieces of work against each other on a machine that does other things as well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, float]:
    """Median seconds of CPU time of each piece of work, the pieces taking turns within every round.

    CPU time of this process, not wall-clock: other processes then hardly count. Run single-threaded.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(warm_up + rounds):
        for name, piece in work.items():
            start = time.process_time()
            piece()
            spent = time.process_time() - start
            if turn >= warm_up:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}
