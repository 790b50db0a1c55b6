"""Folders of sound and unusable files, of whatever kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path


def mixed(
    folder: Path,
    sound: Mapping[str, Callable[[int], bytes]],
    unusable: Mapping[str, Callable[[int], bytes]],
    good: int,
    seed: int,
    each: int,
) -> dict[str, str]:
    """Write `good` sound files, kind by kind, and `each` of every unusable kind, under names that mix them."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(sound)
    for index in range(good):
        kind = kinds[index % len(kinds)]
        (folder / f"{chance.randrange(10**6):06d}-{index}-{kind}").write_bytes(sound[kind](index))
    bad = {}
    for kind, make in unusable.items():
        for index in range(each):
            name = f"{chance.randrange(10**6):06d}-bad{index}-{kind}"
            (folder / name).write_bytes(make(index))
            bad[name] = kind
    return bad
