"""Random numbers as a function of (seed, key), for many seeds at once, so that no world depends on those beside it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, UInt64
from numpy import ndarray

SHORT = 31
"""Key of shorter seeds."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniform(seeds: Int64[ndarray, " B"], *key: int, count: int = 1) -> Float64[ndarray, "B {count}"]:
    """`count` numbers in [0, 1) for each seed; other keys give unrelated ones.

    Source: the output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), keyed by counters.
    """
    state = _mixed(seeds.astype(np.uint64) + _STEP)
    with np.errstate(over="ignore"):
        for part in key:
            state = _mixed(state + np.uint64(part % (1 << 64)) * _STEP + _STEP)
        counters = np.arange(1, count + 1, dtype=np.uint64) * _STEP
        bits = _mixed(state[:, None] + counters)
    numbers: Float64[ndarray, "B {count}"] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def normal(seeds: Int64[ndarray, " B"], *key: int, count: int = 1) -> Float64[ndarray, "B {count}"]:
    """Standard normal numbers likewise (Box and Muller, 1958)."""
    u = uniform(seeds, *key, count=2 * count)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, :count]))
    numbers: Float64[ndarray, "B {count}"] = radius * np.cos(2 * np.pi * u[:, count:])
    return numbers


def short_seeds(seeds: Int64[ndarray, " B"]) -> Int64[ndarray, " B"]:
    """Seeds for what takes 31 bits only. They are mixed, not cut off: seeds a power of two apart would become the same."""
    short: Int64[ndarray, " B"] = (uniform(seeds, SHORT)[:, 0] * (1 << 31)).astype(np.int64)
    return short


def _mixed(x: UInt64[ndarray, "*s"]) -> UInt64[ndarray, "*s"]:
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: UInt64[ndarray, "*s"] = x ^ (x >> np.uint64(31))
    return mixed
