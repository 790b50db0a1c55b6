"""Depth by a linear layer on frozen patch tokens: all learning rates and weight decays side by side.

Source of the head: DINOv2 and DINOv3 (BatchNorm, a 1 x 1 convolution to 256 bins of equal width, the tokens four times as
dense by interpolation, the bins' depths averaged with weights that are linear in what is said). Of their losses there is the
scale-invariant one; that of gradients is left out.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.evaluate.dense import DenseProtocol, Fitted, check_tokens, learn, logits
from worldjepa.evaluate.results import Choice, best

BINS = 256
NEAREST = 1e-3
"""The depth of the first bin, in metres."""
DENSER = 4
"""How much denser than the tokens it is said how far things are."""
FLOOR = 0.1
"""What every bin has at least, before the weights are made to sum to 1."""
FORGIVEN = 0.85
"""Share of an error of scale, the same for all pixels, that the loss does not count (Lee et al., From Big to Small, 2019)."""
WITHIN = 1.25
"""Factor within which a depth counts as right for `delta1` (Eigen et al., 2014)."""


class DepthSplit(NamedTuple):
    """Tokens of images, row by row, and how far every pixel is."""

    x: Float[Tensor, "N n D"]
    depth: Float32[Tensor, "N H W"]
    """In metres; 0 where it is not known."""


class Errors(NamedTuple):
    """What is wrong in each image, over the pixels whose depth is known."""

    rmse: Float[Tensor, " N"]
    """Metres."""
    abs_rel: Float[Tensor, " N"]
    """Mean of the error's share of the true depth."""
    delta1: Float[Tensor, " N"]
    """Percentage of the pixels that are right within a factor of `WITHIN`."""


class Estimated(NamedTuple):
    """What was found in the test images."""

    errors: Errors
    chosen: Choice
    scores: dict[str, float]
    """`rmse`, `val_rmse`, `abs_rel` and `delta1`: means over images."""


def estimate(
    train: DepthSplit,
    val: DepthSplit,
    test: DepthSplit,
    lattice: tuple[int, int],
    farthest: float,
    protocol: DenseProtocol = DenseProtocol(),  # noqa: B008
    seed: int = 0,
    device: torch.device | None = None,
) -> Estimated:
    """Train all heads side by side and report the one with the least RMSE on `val`: `lr` and `decay`.

    Args:
        train: images to learn from.
        val: images to choose on.
        test: images to report.
        lattice: rows and columns of the tokens.
        farthest: depth of the last bin, in metres.
        protocol: how to learn.
        seed: of the first weights and the order.
        device: where to learn; by default where the tokens are.

    Raises:
        UserError: the tokens do not fill the lattice, a depth is out of its range, or an image has none.
    """
    for split in (train, val, test):
        _check(split, lattice, farthest)
    loss = partial(_loss, farthest=farthest)
    fitted = learn(train.x, train.depth, lattice, BINS, loss, protocol, seed, device)
    scores = [-_tested(fitted, head, val, lattice, farthest).rmse.mean().item() for head in range(len(protocol.heads))]
    place = best(scores)
    errors = _tested(fitted, place, test, lattice, farthest)
    told = {name: float(values.mean()) for name, values in errors._asdict().items()}
    return Estimated(errors, dict(protocol.heads[place]._asdict()), {**told, "val_rmse": -scores[place]})


def compared(said: Float[Tensor, "N H W"], actual: Float[Tensor, "N H W"]) -> Errors:
    """What is wrong with depths; an image without any that is known has no number."""
    known = actual > 0
    count = known.sum((1, 2))
    off = torch.where(known, said - actual, 0).double()
    true, guess = torch.where(known, actual, 1).double(), torch.where(known, said, 1).double()
    ratio = torch.maximum(true / guess, guess / true)
    right = ((ratio < WITHIN) & known).sum((1, 2))
    return Errors(
        (off.square().sum((1, 2)) / count).sqrt(), (off.abs() / true).sum((1, 2)) / count, 100 * right.double() / count
    )


def depths(
    said: Float[Tensor, "heads B C h w"], farthest: float, size: tuple[int, int]
) -> Float[Tensor, "heads B H W"]:
    """What heads mean: depths of pixels, in metres."""
    dense = F.interpolate(said.flatten(0, 1), scale_factor=DENSER, mode="bilinear")
    weight = dense.relu() + FLOOR
    bins = torch.linspace(NEAREST, farthest, said.shape[2], device=said.device, dtype=said.dtype)
    depth = torch.einsum("nchw,c->nhw", weight, bins) / weight.sum(1)
    large: Tensor = F.interpolate(depth[:, None], size=size, mode="bilinear")
    return large.view(*said.shape[:2], *size)


def _loss(said: Float[Tensor, "heads B C h w"], actual: Float[Tensor, "B H W"], farthest: float) -> Float[Tensor, ""]:
    """The scale-invariant errors of all heads, summed: the root of how logarithms of ratios vary, and a part of their mean."""
    known = actual > 0
    ratios = (depths(said, farthest, (actual.shape[1], actual.shape[2]))[:, known] / actual[known]).log()
    spread = ratios.var(1, correction=0) + (1 - FORGIVEN) * ratios.mean(1).square()
    return (spread + 1e-6).sqrt().sum()  # the root of 0 has no slope


@torch.no_grad()
def _tested(
    fitted: Fitted, head: int, split: DepthSplit, lattice: tuple[int, int], farthest: float, at_a_time: int = 16
) -> Errors:
    found = []
    weight, bias = fitted.weight[head : head + 1], fitted.bias[head : head + 1]
    for start in range(0, len(split.x), at_a_time):
        rows = slice(start, start + at_a_time)
        actual = split.depth[rows]
        x = (split.x[rows].to(weight) - fitted.mean) / fitted.std
        said = depths(logits(x, weight, bias, lattice), farthest, (actual.shape[1], actual.shape[2]))[0]
        found.append(compared(said.cpu(), actual.cpu()))
    return Errors(*(torch.cat(part) for part in zip(*found, strict=True)))


def _check(split: DepthSplit, lattice: tuple[int, int], farthest: float) -> None:
    check_tokens(split.x, lattice)
    least, most = split.depth.aminmax()
    if not (least >= 0 and most <= farthest):
        raise UserError(
            f"depths run from {float(least):g} to {float(most):g} m: they must be 0 to {farthest:g}, 0 where not known"
        )
    blank = (split.depth <= 0).all(2).all(1)
    if bool(blank.any()):
        raise UserError(f"{int(blank.sum())} of {len(blank)} images have no depth that is known")
