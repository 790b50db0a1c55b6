"""Classes of pixels: a linear layer on the tokens of each row, or the most frequent class everywhere."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Examples, Round
from worldjepa.bench.jobs import Spec
from worldjepa.bench.maps import PixelMaps
from worldjepa.bench.sight import Sight
from worldjepa.data.labels import IGNORED
from worldjepa.evaluate.dense import DenseProtocol, DenseSplit, miou, overlap, segment

HEAD = DenseProtocol()
"""How the probe `segment` learns."""


class Segmentation:
    """The probe of classes of pixels on one model's tokens.

    Args:
        sight: gives the tokens.
        examples: the data.
        share: of the training pictures that each seed learns from.
        device: where the layer learns.
    """

    def __init__(self, sight: Sight, examples: Examples, share: float, device: torch.device) -> None:
        self.sight, self.examples, self.device = sight, examples, device
        self.maps = PixelMaps(sight, examples, share, torch.int16)

    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""
        lattice, split = self.sight.lattice(), self.maps.split(spec, each)
        train, val, test = (DenseSplit(*part) for part in (split.train, split.val, split.test))
        found = segment(train, val, test, lattice, self._classes, HEAD, seed=spec.seed, device=self.device)
        outcome = shares(found.intersection, found.union)
        return Answer(found.scores, found.chosen, split.counts, outcome, split.tested, split.readable)

    def chance(self, spec: Spec, each: Round) -> Answer:
        """The most frequent class of the training pixels, everywhere."""
        (train,), (val,), (test,) = each[1:]
        learned, maps = self.maps.read(train).values, self.maps.read(test)
        most = int(learned[learned != IGNORED].bincount(minlength=1).argmax())
        found = [overlap(torch.full_like(mask, most), mask, self._classes) for mask in maps.values.long()]
        intersection, union = (torch.stack(one) for one in zip(*found, strict=True))
        counts = tuple(len(self.maps.read(name).indices) for name in (train, val, test))
        return Answer(
            {"miou": miou(intersection, union)},
            {},
            (counts[0], counts[1], counts[2]),
            shares(intersection, union),
            [(test, maps.indices)],
            sum(counts),
        )

    @property
    def _classes(self) -> int:
        assert self.examples.pixels is not None
        return self.examples.pixels.classes


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
