"""Where to crop: the random boxes that training views are cut from."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

RATIO = (3 / 4, 4 / 3)
"""Aspect ratios, width to height, of I-JEPA's training crops."""

_TRIES = 10


class Box(NamedTuple):
    """A rectangle in pixels: its left and top edges and its extent."""

    left: int
    top: int
    width: int
    height: int


def sample_crop(
    width: int,
    height: int,
    rng: torch.Generator,
    scale: tuple[float, float] = (0.3, 1.0),
    ratio: tuple[float, float] = RATIO,
) -> Box:
    """Draw where to crop: an area uniform in `scale` (a fraction of the image), an aspect log-uniform in `ratio`.

    The first of ten draws that fits into the image is taken; if none does, the largest centred crop whose aspect is in
    `ratio`. The same distribution as torchvision's RandomResizedCrop, whose own draws come from the global generator.
    """
    draws = torch.rand(_TRIES + 1, 2, generator=rng, dtype=torch.float64).tolist()
    left, top = draws[-1]
    for area, aspect in draws[:-1]:
        target = width * height * _between(scale, area)
        shape = math.exp(_between((math.log(ratio[0]), math.log(ratio[1])), aspect))
        w, h = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(left * (width - w + 1)), int(top * (height - h + 1)), w, h)
    return _centred_crop(width, height, ratio)


def _between(interval: tuple[float, float], fraction: float) -> float:
    return interval[0] + (interval[1] - interval[0]) * fraction


def _centred_crop(width: int, height: int, ratio: tuple[float, float]) -> Box:
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return Box((width - w) // 2, (height - h) // 2, w, h)
