"""Classes of pixels: a linear layer on the tokens of each row, or the most frequent class everywhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.bench.answers import Answer
from worldjepa.bench.examples import Examples, Round
from worldjepa.bench.frozen import part
from worldjepa.bench.jobs import Spec
from worldjepa.bench.probes import TOKENS
from worldjepa.bench.sight import Sight
from worldjepa.data.labels import IGNORED
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.dense import DenseProtocol, DenseSplit, miou, overlap, segment

HEAD = DenseProtocol()
"""How the probe `segment` learns."""


class Maps(NamedTuple):
    """The classes of the pixels of a part."""

    masks: Int[Tensor, "N H W"]
    indices: list[int]
    """The observations that they belong to: those whose map could be read."""


class Segmentation:
    """The probe of pixels on one model's tokens.

    Args:
        sight: gives the tokens.
        examples: the data.
        share: of the training pictures that each seed learns from.
        device: where the layer learns.
    """

    def __init__(self, sight: Sight, examples: Examples, share: float, device: torch.device) -> None:
        self.sight, self.examples, self.share, self.device = sight, examples, share, device
        self._maps: dict[str, Maps] = {}

    def answer(self, spec: Spec, each: Round) -> Answer:
        """The best of a few learning rates."""
        lattice = self.sight.lattice()
        seen = self.sight.seen(spec.row, spec.seed, True)
        splits, tested, readable = [], list[tuple[str, list[int]]](), 0
        for names in each[1:]:
            (name,) = names
            maps, there = self._read(name), seen[name].indices
            both = sorted({*maps.indices} & {*there})
            x, masks = (_rows(of, both) for of in (there, maps.indices))
            splits.append(DenseSplit(seen[name].views[TOKENS][x], maps.masks[masks]))
            tested = [(name, both)]
            readable += len(both)
        train, val, test = splits
        if self.share < 1:
            rows = part(len(train.x), self.share, spec.seed)
            train = DenseSplit(train.x[rows], train.masks[rows])
        found = segment(train, val, test, lattice, self._classes, HEAD, seed=spec.seed, device=self.device)
        counts = (len(train.x), len(val.x), len(test.x))
        outcome = shares(found.intersection, found.union)
        return Answer(found.scores, found.chosen, counts, outcome, tested, readable)

    def chance(self, spec: Spec, each: Round) -> Answer:
        """The most frequent class of the training pixels, everywhere."""
        (train,), (val,), (test,) = each[1:]
        learned, maps = self._read(train).masks, self._read(test)
        most = int(learned[learned != IGNORED].bincount(minlength=1).argmax())
        found = [overlap(torch.full_like(mask, most), mask, self._classes) for mask in maps.masks.long()]
        intersection, union = (torch.stack(one) for one in zip(*found, strict=True))
        readable = [self._read(name) for name in (train, val, test)]
        counts = tuple(len(one.indices) for one in readable)
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

    def _read(self, name: str) -> Maps:
        """All maps of a part that can be read, held: every seed and row needs them.

        Raises:
            UserError: there are none.
        """
        if name not in self._maps:
            assert self.examples.pixels is not None
            labels, masks, indices = self.examples.pixels.labels[name], [], list[int]()
            for index in range(len(self.examples.parts[name])):
                try:
                    masks.append(labels(index).to(torch.int16))
                except Unreadable:
                    continue  # left out and counted, like pictures that cannot be read
                indices.append(index)
            if not indices:
                raise UserError(f"none of {len(self.examples.parts[name])} maps of pixels can be read")
            self._maps[name] = Maps(torch.stack(masks), indices)
        return self._maps[name]


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


def _rows(indices: list[int], wanted: list[int]) -> list[int]:
    place = {index: row for row, index in enumerate(indices)}
    return [place[index] for index in wanted]
