"""Classes of pixels: a linear layer on the tokens of each row, or the most frequent class everywhere."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Round
from worldjepa.bench.jobs import Spec
from worldjepa.bench.maps import PixelProbe
from worldjepa.data.labels import IGNORED
from worldjepa.evaluate.dense import DenseProtocol, DenseSplit, miou, overlap, segment

HEAD = DenseProtocol()
"""How the probe `segment` learns."""


@final
class Segmentation(PixelProbe):
    """The probe of classes of pixels; see `PixelProbe`."""

    dtype = torch.int16

    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""
        lattice, split = self.sight.lattice(), self.maps.split(spec, each)
        train, val, test = (DenseSplit(*part) for part in (split.train, split.val, split.test))
        found = segment(train, val, test, lattice, self.pixels.classes, HEAD, seed=spec.seed, device=self.device)
        outcome = shares(found.intersection, found.union)
        return Answer(found.scores, found.chosen, split.counts, outcome, split.tested, split.readable)

    def chance(self, spec: Spec, each: Round) -> Answer:
        """The most frequent class of the training pixels, everywhere."""
        (train,), _, (test,) = each[1:]
        learned, maps = self.maps.read(train).values, self.maps.read(test)
        most = int(learned[learned != IGNORED].bincount(minlength=1).argmax())
        found = [overlap(torch.full_like(mask, most), mask, self.pixels.classes) for mask in maps.values.long()]
        intersection, union = (torch.stack(one) for one in zip(*found, strict=True))
        counts = self.counts(each)
        return Answer(
            {"miou": miou(intersection, union)},
            {},
            counts,
            shares(intersection, union),
            [(test, maps.indices)],
            sum(counts),
        )


def shares(intersection: Int[Tensor, "N C"], union: Int[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """What each picture adds to the mIoU, in percent: their mean is the mIoU.

    The mIoU is no mean over pictures. To first order a picture moves the IoU of a class by its intersection less IoU times its
    union, in units of the mean union: with these a bootstrap over pictures is that of the mIoU, as far as it is linear.
    """
    both, either = intersection.double(), union.double()
    there = either.sum(0) > 0
    both, either = both[:, there], either[:, there]
    if not both.shape[1]:
        return torch.zeros(len(both), dtype=torch.float64)
    iou = both.sum(0) / either.sum(0)
    return 100 * (iou + (both - iou * either) / either.mean(0)).mean(1)
