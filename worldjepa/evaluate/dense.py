"""Segmentation by a linear layer on frozen patch tokens: all learning rates and weight decays side by side.

Source of the head: DINOv3 (BatchNorm and a 1 x 1 convolution). The norm has no affine parameters: the convolution has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from worldjepa.data.labels import IGNORED
from worldjepa.errors import UserError
from worldjepa.evaluate.linear import initial, shuffled
from worldjepa.evaluate.results import Choice, best
from worldjepa.evaluate.sweep import AdamW, Head, grid, pace


class DenseSplit(NamedTuple):
    """Tokens of images, row by row, and the class of every pixel."""

    x: Float[Tensor, "N n D"]
    masks: Int[Tensor, "N H W"]


class DenseProtocol(NamedTuple):
    """How the linear layer is learned."""

    heads: tuple[Head, ...] = grid((1e-4, 3e-4, 1e-3, 3e-3), (1e-3,))
    epochs: int = 20
    batch: int = 16
    warmup: int = 1
    """Epochs."""


class Segmented(NamedTuple):
    """What was found in the test images."""

    intersection: Int[Tensor, "N C"]
    """Of each image and class the pixels that are rightly given to it."""
    union: Int[Tensor, "N C"]
    """Those that are given to it or belong to it."""
    chosen: Choice
    scores: dict[str, float]
    """`miou` and `val_miou`, over all pixels of a split and the classes that occur, and `pixels` that are right; percent."""


class Fitted(NamedTuple):
    """Trained heads behind one norm."""

    weight: Float[Tensor, "heads C D"]
    bias: Float[Tensor, "heads C"]
    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]


def segment(
    train: DenseSplit,
    val: DenseSplit,
    test: DenseSplit,
    lattice: tuple[int, int],
    classes: int,
    protocol: DenseProtocol = DenseProtocol(),  # noqa: B008
    ignored: int = IGNORED,
    seed: int = 0,
    device: torch.device | None = None,
) -> Segmented:
    """Train all heads side by side and report the one with the best mIoU on `val`: `lr` and `decay`.

    Args:
        train: images to learn from.
        val: images to choose on.
        test: images to report.
        lattice: rows and columns of the tokens.
        classes: number of classes.
        protocol: how to learn.
        ignored: the label of pixels that count nowhere.
        seed: of the first weights and the order.
        device: where to learn; by default where the tokens are.

    Raises:
        UserError: the tokens do not fill the lattice, a label is no class, or there is nothing to learn.
    """
    for split in (train, val, test):
        _check(split, lattice, classes, ignored)
    fitted = fit(train, lattice, classes, protocol, ignored, seed, device)
    scores = [miou(*_overlaps(fitted, head, val, lattice, ignored)) for head in range(len(protocol.heads))]
    place = best(scores)
    intersection, union = _overlaps(fitted, place, test, lattice, ignored)
    pixels = 100 * 2 * float(intersection.sum()) / max(1, int(union.sum() + intersection.sum()))
    told = {"miou": miou(intersection, union), "val_miou": scores[place], "pixels": pixels}
    return Segmented(intersection, union, dict(protocol.heads[place]._asdict()), told)


def fit(
    train: DenseSplit,
    lattice: tuple[int, int],
    classes: int,
    protocol: DenseProtocol,
    ignored: int = IGNORED,
    seed: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Fitted:
    """Train all heads from the same weights on the same batches."""
    loss = partial(_loss, ignored=ignored)
    return learn(train.x, train.masks, lattice, classes, loss, protocol, seed, device, dtype)


def learn(
    tokens: Float[Tensor, "N n D"],
    maps: Shaped[Tensor, "N H W"],
    lattice: tuple[int, int],
    outputs: int,
    loss: Callable[[Float[Tensor, "heads B C h w"], Shaped[Tensor, "B H W"]], Float[Tensor, ""]],
    protocol: DenseProtocol,
    seed: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Fitted:
    """Train linear layers that say something of every token, from the same weights on the same batches.

    Args:
        tokens: to learn from, row by row.
        maps: what is so, pixel by pixel.
        lattice: rows and columns of the tokens.
        outputs: numbers that are said of each token.
        loss: of all heads, summed, from what they say and from the maps of a batch.
        protocol: how to learn.
        seed: of the first weights and the order.
        device: where to learn; by default where the tokens are.
        dtype: of the parameters.
    """
    device = tokens.device if device is None else device
    count, dim = len(protocol.heads), tokens.shape[-1]
    start = initial(outputs, dim, seed).to(device, dtype).expand(count, -1, -1).clone()
    parameters = {"weight": start, "bias": torch.zeros(count, outputs, device=device, dtype=dtype)}
    for parameter in parameters.values():
        parameter.requires_grad_()
    norm = nn.BatchNorm1d(dim, affine=False, momentum=None).to(device, dtype)
    optimiser = AdamW(parameters, protocol.heads)
    size = min(protocol.batch, len(tokens))
    per_epoch = len(tokens) // size
    steps = protocol.epochs * per_epoch
    for epoch in range(protocol.epochs):
        order = shuffled(len(tokens), seed, epoch).to(tokens.device)
        for i in range(per_epoch):
            rows = order[i * size : (i + 1) * size]
            x, actual = tokens[rows].to(device, dtype), maps[rows].to(device)
            said = logits(norm(x.flatten(0, 1)).view_as(x), parameters["weight"], parameters["bias"], lattice)
            loss(said, actual).backward()  # type: ignore[no-untyped-call]
            optimiser.step(pace(epoch * per_epoch + i, steps, protocol.warmup * per_epoch))
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    weight, bias = (parameter.detach() for parameter in parameters.values())
    return Fitted(weight, bias, mean, (variance + norm.eps).sqrt())


def logits(
    x: Float[Tensor, "B n D"],
    weight: Float[Tensor, "heads C D"],
    bias: Float[Tensor, "heads C"],
    lattice: tuple[int, int],
) -> Float[Tensor, "heads B C h w"]:
    """What each head says of each patch."""
    said = torch.einsum("bnd,hcd->hbcn", x, weight) + bias[:, None, :, None]
    return said.unflatten(-1, lattice)  # type: ignore[no-untyped-call, no-any-return]


def _loss(said: Float[Tensor, "heads B C h w"], masks: Int[Tensor, "B H W"], ignored: int) -> Float[Tensor, ""]:
    """The cross-entropies of all heads, each a mean over pixels that count, summed."""
    heads, masks = len(said), masks.long()
    large = F.interpolate(said.flatten(0, 1), size=masks.shape[-2:], mode="bilinear")  # [heads*B, C, H, W]
    loss = F.cross_entropy(large, masks.repeat(heads, 1, 1), ignore_index=ignored, reduction="sum")
    return loss / (masks != ignored).sum().clamp_min(1)


@torch.no_grad()
def _overlaps(
    fitted: Fitted, head: int, split: DenseSplit, lattice: tuple[int, int], ignored: int, at_a_time: int = 16
) -> tuple[Int[Tensor, "N C"], Int[Tensor, "N C"]]:
    """Intersection and union of each image and class."""
    found = []
    weight, bias = fitted.weight[head : head + 1], fitted.bias[head : head + 1]
    for start in range(0, len(split.x), at_a_time):
        rows = slice(start, start + at_a_time)
        masks = split.masks[rows].to(weight.device).long()
        x = (split.x[rows].to(weight) - fitted.mean) / fitted.std
        said = logits(x, weight, bias, lattice)[0]
        predicted = F.interpolate(said, size=masks.shape[-2:], mode="bilinear").argmax(1)
        found += [overlap(p, m, weight.shape[1], ignored) for p, m in zip(predicted, masks, strict=True)]
    first, second = (torch.stack(part).cpu() for part in zip(*found, strict=True))
    return first, second


def overlap(
    predicted: Int[Tensor, "H W"], actual: Int[Tensor, "H W"], classes: int, ignored: int = IGNORED
) -> tuple[Int[Tensor, " C"], Int[Tensor, " C"]]:
    """The pixels of each class in both and in either of two maps; where `actual` is `ignored`, none is counted."""
    counts = actual != ignored
    predicted, actual = predicted[counts], actual[counts]
    both = predicted[predicted == actual].bincount(minlength=classes)
    return both, predicted.bincount(minlength=classes) + actual.bincount(minlength=classes) - both


def miou(intersection: Int[Tensor, "N C"], union: Int[Tensor, "N C"]) -> float:
    """Intersection over union of all images together, averaged over the classes that occur; percent."""
    both, either = intersection.sum(0), union.sum(0)
    there = either > 0
    return 100.0 * float((both[there] / either[there]).double().mean()) if bool(there.any()) else 0.0


def check_tokens(x: Float[Tensor, "N n D"], lattice: tuple[int, int]) -> None:
    """See that there are tokens, and that they fill the lattice.

    Raises:
        UserError: it is not so.
    """
    n = x.shape[1]
    if n != lattice[0] * lattice[1]:
        raise UserError(f"{n} tokens do not fill a lattice of {lattice[0]} rows and {lattice[1]} columns")
    if not len(x):
        raise UserError("a probe of pixels needs images in each split")


def _check(split: DenseSplit, lattice: tuple[int, int], classes: int, ignored: int) -> None:
    check_tokens(split.x, lattice)
    labels = split.masks[split.masks != ignored]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(
            f"labels run from {int(labels.min())} to {int(labels.max())}: with {classes} classes they are 0 to "
            f"{classes - 1}, or {ignored}, which is ignored"
        )
