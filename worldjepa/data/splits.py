"""Which labelled samples are held out: decided sample by sample, so that the order of files does not matter."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from worldjepa.data import ProbeSplits
from worldjepa.data.files import Files
from worldjepa.data.paths import PathTable
from worldjepa.errors import UserError

VAL_FRACTION = 0.2
"""Part of the labelled training samples that probes choose their settings on."""


def check_holdout(fraction: float) -> float:
    """Return the fraction.

    Raises:
        UserError: it is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise UserError(f"holdout must be at least 0 and less than 1: {fraction}")
    return float(fraction)


def stratified(
    paths: PathTable, classes: Int64[ndarray, " N"], fraction: float, seed: int, purpose: str
) -> Bool[ndarray, " N"]:
    """Choose this fraction of every class, rounded; True where chosen. Samples of class -1 are never chosen.

    At least one and not all samples of a class are chosen, if it has two or more and the fraction is above 0. The
    choice depends on each path, the seed and the purpose, so other files or another order move few samples or none.
    """
    keys = np.fromiter((_key(path, seed, purpose) for path in paths), np.uint64, len(paths))
    chosen = np.zeros(len(paths), np.bool_)
    order = np.lexsort((keys, classes))  # by class, and by key within a class
    if fraction == 0 or not len(order):
        return chosen
    starts = np.flatnonzero(np.diff(classes[order], prepend=classes[order[0]] - 1))
    for members in np.split(order, starts[1:]):
        if classes[members[0]] >= 0:
            count = min(max(round(len(members) * fraction), 1), len(members) - 1)
            chosen[members[:count]] = True
    return chosen


def probe_splits(train: Files, val: Files | None, test: Files, seed: int) -> ProbeSplits:
    """Labelled splits; without samples for validation, a part of the training samples is set apart for it.

    Of several factors the first one's classes are shared out evenly.
    """
    if val is not None:
        return ProbeSplits(train, val, test)
    headline = next(iter(train.factors.values()))
    apart = stratified(train.paths, headline.index, VAL_FRACTION, seed, "val")
    return ProbeSplits(train.select(np.flatnonzero(~apart)), train.select(np.flatnonzero(apart)), test)


def _key(path: str, seed: int, purpose: str) -> int:
    text = f"{seed}:{purpose}:{path}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
