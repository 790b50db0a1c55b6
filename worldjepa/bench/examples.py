"""The examples of a task: parts of a data set, some of a part, states of an environment, and in which roles they are."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from numpy import ndarray
from torch import Tensor

from worldjepa.data import Labels, Observations, ProbeSplits
from worldjepa.data.views import View
from worldjepa.errors import Unreadable
from worldjepa.evaluate.embed import subset
from worldjepa.world.environment import GoalEnvironment
from worldjepa.world.record import TOGETHER, seeds_of

PROBED = 15_485
"""Seeds of states that are probed begin here: neither those of training nor those of `worldjepa plan`."""

MOST_HELD = 256 << 20
"""Bytes of evaluation views that are held in memory."""


class Round(NamedTuple):
    """One choice of what is for learning, choosing and testing, by the names of the parts."""

    name: str
    """Of the fold; empty where there is one round only."""
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


class Pixels(NamedTuple):
    """What the pixels of examples are."""

    labels: Mapping[str, Callable[[int], Tensor]]
    """For each part what is known of an observation's pixels, [H, W]: their classes, or their depths in metres."""
    classes: int = 0
    """How many there are; 0 for depths."""
    farthest: float = 0.0
    """The largest depth that there is, in metres."""


class Examples(NamedTuple):
    """What a task is measured on."""

    parts: Mapping[str, Observations]
    rounds: tuple[Round, ...]
    values: Mapping[str, Tensor]
    """For numbers or memberships of classes in place of factors: those of each part's observations, [N, R]."""
    pixels: Pixels | None = None
    """For classes or depths of pixels."""


SPLIT = Round("", ("train",), ("val",), ("test",))


def fold_rounds(folds: Sequence[str]) -> tuple[Round, ...]:
    """Each fold is for testing once; settings are chosen on the one after it, and the others are learned from."""
    rounds = []
    for place, name in enumerate(folds):
        val = folds[(place + 1) % len(folds)]
        rounds.append(Round(name, tuple(one for one in folds if one not in (name, val)), (val,), (name,)))
    return tuple(rounds)


def some(observations: Observations, most: int | None) -> Observations:
    """All observations, or so many spread evenly over them."""
    if most is None or len(observations) <= most:
        return observations
    return Some(observations, subset(observations, most))


@final
class Some(Observations):
    """Some of the observations of another set.

    Args:
        whole: the set.
        chosen: indices of those that are kept.
    """

    def __init__(self, whole: Observations, chosen: Sequence[int]) -> None:
        self.whole, self.chosen = whole, list(chosen)
        self.shape, self.in_memory, self.views = whole.shape, whole.in_memory, whole.views
        self.factors = {name: Labels(one.index[self.chosen], one.names) for name, one in whole.factors.items()}

    def __len__(self) -> int:
        return len(self.chosen)

    def observe(self, index: int, rng: torch.Generator | None = None) -> View:
        """As the whole set shows it."""
        return self.whole.observe(self.chosen[index], rng)

    def name(self, index: int) -> str:
        """As the whole set calls it."""
        return self.whole.name(self.chosen[index])

    def fingerprint(self) -> str:
        """That of the set, with which are kept."""
        kept = np.asarray(self.chosen, np.int64).tobytes()
        return hashlib.sha256(self.whole.fingerprint().encode() + kept).hexdigest()


def held(observations: Observations) -> Observations:
    """Observations that are read once, where they take little memory and are not there already."""
    if observations.in_memory or not len(observations):
        return observations
    try:
        first = observations.observe(0)
    except Unreadable:
        return observations
    if not isinstance(first, Tensor) or first.nbytes * len(observations) > MOST_HELD:
        return observations
    return Held(observations)


@final
class Held(Observations):
    """Observations whose evaluation views stay in memory once they have been read.

    Args:
        whole: the observations.
    """

    in_memory = True

    def __init__(self, whole: Observations) -> None:
        self.whole, self.shape, self.factors, self.views = whole, whole.shape, whole.factors, whole.views
        self._read: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.whole)

    def observe(self, index: int, rng: torch.Generator | None = None) -> View:
        """The view from memory, or a new one where it is augmented."""
        if rng is not None:
            return self.whole.observe(index, rng)
        if index not in self._read:
            view = self.whole.observe(index)
            if not isinstance(view, Tensor):
                return view
            self._read[index] = view
        return self._read[index].clone()

    def name(self, index: int) -> str:
        """As the set calls it."""
        return self.whole.name(index)

    def fingerprint(self) -> str:
        """That of the set."""
        return self.whole.fingerprint()


@final
class Joined(Observations):
    """Several sets of the same kind, one after another.

    Args:
        sets: the sets.
    """

    def __init__(self, sets: Sequence[Observations]) -> None:
        self.sets = list(sets)
        self.ends = list(itertools.accumulate(len(one) for one in self.sets))
        first = self.sets[0]
        self.shape, self.views = first.shape, first.views
        self.in_memory = all(one.in_memory for one in self.sets)
        self.factors = {
            name: Labels(np.concatenate([one.factors[name].index for one in self.sets]), labels.names)
            for name, labels in first.factors.items()
        }

    def __len__(self) -> int:
        return self.ends[-1]

    def _place(self, index: int) -> tuple[Observations, int]:
        which = bisect.bisect_right(self.ends, index)
        return self.sets[which], index - (self.ends[which - 1] if which else 0)

    def observe(self, index: int, rng: torch.Generator | None = None) -> View:
        """As its set shows it."""
        one, place = self._place(index)
        return one.observe(place, rng)

    def name(self, index: int) -> str:
        """As its set calls it."""
        one, place = self._place(index)
        return one.name(place)

    def fingerprint(self) -> str:
        """Those of the sets."""
        return hashlib.sha256(" ".join(one.fingerprint() for one in self.sets).encode()).hexdigest()


@final
class States(Observations):
    """Single frames of an environment in states that its seeds draw.

    Args:
        environment: where.
        first: number of the first.
        count: how many.
    """

    in_memory = True

    def __init__(self, environment: GoalEnvironment, first: int, count: int) -> None:
        seeds = seeds_of(PROBED, range(first, first + count))
        frames, states = [], []
        for start in range(0, count, TOGETHER):
            frames.append(np.array(environment.reset(seeds[start : start + TOGETHER])))
            states.append(np.array(environment.state(), np.float64))
        self.frames: Shaped[ndarray, "N ..."] = np.concatenate(frames)
        self.states: Float64[ndarray, "N S"] = np.concatenate(states)
        self.shape = (1, *self.frames.shape[1:])
        self.factors = {}

    def __len__(self) -> int:
        return len(self.frames)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        """The frame, as a window of one."""
        return torch.from_numpy(self.frames[index : index + 1].copy())

    def fingerprint(self) -> str:
        """SHA-256 over frames and states."""
        digest = hashlib.sha256(f"{self.shape} {self.frames.dtype}".encode())
        for part in (self.frames, self.states):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def joined(examples: Examples, each: Round) -> ProbeSplits:
    """The parts of a round as three sets."""
    sets = [[examples.parts[name] for name in names] for names in each[1:]]
    return ProbeSplits(*(one[0] if len(one) == 1 else Joined(one) for one in sets))


def labels_of(observations: Observations, factor: str) -> Tensor:
    """The classes of a factor."""
    return torch.from_numpy(observations.factors[factor].index).long()


def digest_of(identities: Sequence[tuple[str, Sequence[int]]]) -> str:
    """SHA-256 that names examples in their order: of each set the fingerprint and the indices."""
    digest = hashlib.sha256()
    for fingerprint, indices in identities:
        digest.update(fingerprint.encode())
        digest.update(np.asarray(indices, np.int64).tobytes())
    return digest.hexdigest()
