"""How far pixels are: a linear layer on the tokens of each row, or the mean depth everywhere."""

from __future__ import annotations

import torch

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Examples, Round
from worldjepa.bench.jobs import Spec
from worldjepa.bench.maps import PixelMaps
from worldjepa.bench.sight import Sight
from worldjepa.evaluate.dense import DenseProtocol
from worldjepa.evaluate.depth import DepthSplit, compared, estimate

HEAD = DenseProtocol()
"""How the probe `depth` learns."""


class Distances:
    """The probe of depth on one model's tokens.

    Args:
        sight: gives the tokens.
        examples: the data.
        share: of the training pictures that each seed learns from.
        device: where the layer learns.
    """

    def __init__(self, sight: Sight, examples: Examples, share: float, device: torch.device) -> None:
        self.sight, self.examples, self.device = sight, examples, device
        self.maps = PixelMaps(sight, examples, share, torch.float32)

    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""
        lattice, split = self.sight.lattice(), self.maps.split(spec, each)
        assert self.examples.pixels is not None
        train, val, test = (DepthSplit(*part) for part in (split.train, split.val, split.test))
        farthest = self.examples.pixels.farthest
        found = estimate(train, val, test, lattice, farthest, HEAD, seed=spec.seed, device=self.device)
        return Answer(found.scores, found.chosen, split.counts, found.errors.rmse, split.tested, split.readable)

    def chance(self, spec: Spec, each: Round) -> Answer:
        """The mean depth of the training pixels, everywhere: no other number has a smaller squared error there."""
        (train,), (val,), (test,) = each[1:]
        learned, maps = self.maps.read(train).values, self.maps.read(test)
        mean = learned[learned > 0].double().mean().float()
        errors = compared(mean.expand_as(maps.values), maps.values)
        counts = tuple(len(self.maps.read(name).indices) for name in (train, val, test))
        return Answer(
            {name: float(values.mean()) for name, values in errors._asdict().items()},
            {},
            (counts[0], counts[1], counts[2]),
            errors.rmse,
            [(test, maps.indices)],
            sum(counts),
        )
