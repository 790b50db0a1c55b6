"""How far pixels are: a linear layer on the tokens of each row, or the mean depth everywhere."""

from __future__ import annotations

from typing import final

import torch

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Round
from worldjepa.bench.jobs import Spec
from worldjepa.bench.maps import PixelProbe
from worldjepa.evaluate.dense import DenseProtocol
from worldjepa.evaluate.depth import DepthSplit, compared, estimate

HEAD = DenseProtocol()
"""How the probe `depth` learns."""


@final
class Distances(PixelProbe):
    """The probe of depth; see `PixelProbe`."""

    dtype = torch.float32

    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""
        lattice, split = self.sight.lattice(), self.maps.split(spec, each)
        train, val, test = (DepthSplit(*part) for part in (split.train, split.val, split.test))
        found = estimate(train, val, test, lattice, self.pixels.farthest, HEAD, seed=spec.seed, device=self.device)
        return Answer(found.scores, found.chosen, split.counts, found.errors.rmse, split.tested, split.readable)

    def chance(self, spec: Spec, each: Round) -> Answer:
        """The mean depth of the training pixels, everywhere: no other number has a smaller squared error there."""
        (train,), _, (test,) = each[1:]
        learned, maps = self.maps.read(train).values, self.maps.read(test)
        mean = learned[learned > 0].double().mean().float()
        errors = compared(mean.expand_as(maps.values), maps.values)
        counts = self.counts(each)
        return Answer(
            {name: float(values.mean()) for name, values in errors._asdict().items()},
            {},
            counts,
            errors.rmse,
            [(test, maps.indices)],
            sum(counts),
        )
