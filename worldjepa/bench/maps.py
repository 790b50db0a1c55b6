"""What is known of single pixels, read once, and the tokens that belong to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Examples, Pixels, Round
from worldjepa.bench.frozen import part
from worldjepa.bench.jobs import Spec
from worldjepa.bench.probes import TOKENS
from worldjepa.bench.sight import Sight
from worldjepa.errors import Unreadable, UserError


class Maps(NamedTuple):
    """What is known of the pixels of a part."""

    values: Shaped[Tensor, "N H W"]
    indices: list[int]
    """The observations that they belong to: those whose map could be read."""


class Learned(NamedTuple):
    """Tokens of a part, and what is known of their pixels."""

    x: Float[Tensor, "N n D"]
    values: Shaped[Tensor, "N H W"]


class Split(NamedTuple):
    """What a probe of pixels learns from, chooses on and is tested on."""

    train: Learned
    val: Learned
    test: Learned
    tested: list[tuple[str, list[int]]]
    """The test examples: of the part the indices."""
    readable: int
    """How many observations could be read."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many there are of each."""
        return (len(self.train.x), len(self.val.x), len(self.test.x))


class PixelMaps:
    """Reads what is known of pixels, and holds it: every seed and row needs it.

    Args:
        sight: gives the tokens.
        examples: the data.
        share: of the training pictures that each seed learns from.
        dtype: how the values are held.
    """

    def __init__(self, sight: Sight, examples: Examples, share: float, dtype: torch.dtype) -> None:
        self.sight, self.examples, self.share, self.dtype = sight, examples, share, dtype
        self._held: dict[str, Maps] = {}

    def split(self, spec: Spec, each: Round) -> Split:
        """Tokens and maps of the pictures of which both can be read."""
        seen = self.sight.seen(spec.row, spec.seed, True)
        splits, tested, readable = [], list[tuple[str, list[int]]](), 0
        for names in each[1:]:
            (name,) = names
            maps, there = self.read(name), seen[name].indices
            both = sorted({*maps.indices} & {*there})
            x, values = (_rows(of, both) for of in (there, maps.indices))
            splits.append(Learned(seen[name].views[TOKENS][x], maps.values[values]))
            tested = [(name, both)]
            readable += len(both)
        train, val, test = splits
        if self.share < 1:
            rows = part(len(train.x), self.share, spec.seed)
            train = Learned(train.x[rows], train.values[rows])
        return Split(train, val, test, tested, readable)

    def read(self, name: str) -> Maps:
        """All maps of a part that can be read.

        Raises:
            UserError: there are none.
        """
        if name not in self._held:
            assert self.examples.pixels is not None
            labels, values, indices = self.examples.pixels.labels[name], [], list[int]()
            for index in range(len(self.examples.parts[name])):
                try:
                    values.append(labels(index).to(self.dtype))
                except Unreadable:
                    continue  # left out and counted, like pictures that cannot be read
                indices.append(index)
            if not indices:
                raise UserError(f"none of {len(self.examples.parts[name])} maps of pixels can be read")
            self._held[name] = Maps(torch.stack(values), indices)
        return self._held[name]


class PixelProbe(ABC):
    """Asks of every pixel something that a linear layer tells from one model's tokens.

    Args:
        sight: gives the tokens.
        examples: the data.
        share: of the training pictures that each seed learns from.
        device: where the layer learns.
    """

    dtype: ClassVar[torch.dtype]
    """How what is known of pixels is held."""

    def __init__(self, sight: Sight, examples: Examples, share: float, device: torch.device) -> None:
        self.sight, self.examples, self.device = sight, examples, device
        self.maps = PixelMaps(sight, examples, share, self.dtype)

    @property
    def pixels(self) -> Pixels:
        """What is known of pixels."""
        assert self.examples.pixels is not None
        return self.examples.pixels

    @abstractmethod
    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""

    @abstractmethod
    def chance(self, spec: Spec, each: Round) -> Answer:
        """What is said without looking: the same of every pixel."""

    def counts(self, each: Round) -> tuple[int, int, int]:
        """How many maps of each part could be read."""
        train, val, test = (len(self.maps.read(name).indices) for (name,) in each[1:])
        return train, val, test


def _rows(indices: list[int], wanted: list[int]) -> list[int]:
    place = {index: row for row, index in enumerate(indices)}
    return [place[index] for index in wanted]
