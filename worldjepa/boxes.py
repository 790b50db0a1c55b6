"""Masks of boxes in space and time: everything inside any of them is asked at once, the rest is seen (V-JEPA)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.masks import (
    MAX_ROUNDS,
    MIN_ACCEPTANCE,
    Bounds,
    Plane,
    block_size,
    check_positive,
    check_range,
    log_uniform,
    span,
    uniform,
)
from worldjepa.types import Grid, Masks


class Box(NamedTuple):
    """The extent of a box in tokens: along the depth of a grid's plane, its rows and its columns."""

    depth: int
    h: int
    w: int


@final
class BoxUnion(MaskSampler):
    """Several boxes of one size, placed at random: their union is asked in one question, and all else is seen.

    The size is drawn once per call, the places for every sample. Scale and aspect are independent, and boxes reach every
    edge. Sets are cut to one length by an unbiased random subset. Samples that leave too little to see are drawn again. On
    images, whose grid has no depth, the boxes are rectangles.

    Args:
        boxes: how many; they may overlap.
        scale: share of the plane that a box covers.
        aspect: height over width of a box.
        duration: share of the depth, which is time for videos, that a box spans.
        min_context: smallest number of tokens that are to be seen.
        official: draw as V-JEPA does: the aspect is uniform, not log-uniform; areas and durations are rounded down; sets
            are cut to one length by keeping their first tokens, so that the end of a clip and the bottom of its last
            frames are lost.

    Raises:
        UserError: an argument is out of range; on a call, the numbers cannot be met on that grid.

    Source: V-JEPA (arXiv 2404.08471), section 3.2 and `src/masks/multiblock3d.py` of its repository.
    """

    def __init__(
        self,
        boxes: int = 8,
        scale: Bounds = (0.15, 0.15),
        aspect: Bounds = (0.75, 1.5),
        duration: Bounds = (1.0, 1.0),
        min_context: int = 1,
        official: bool = False,
    ) -> None:
        self.boxes = check_positive("boxes", boxes)
        self.scale = check_range("scale", scale, 1.0)
        self.aspect = check_range("aspect", aspect, math.inf)
        self.duration = check_range("duration", duration, 1.0)
        self.min_context = check_positive("min_context", min_context)
        self.official = official

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, 1, K]` and target `[B, 1, Q]`."""
        plane = Plane.of(grid)
        u = torch.rand(3, generator=rng).tolist()
        box = self.size(plane, *u)
        self._check(plane)
        free = ~union(plane, box, self.boxes, batch, rng)
        for _ in range(MAX_ROUNDS):
            short = np.flatnonzero(free.sum(-1) < self.min_context)
            if len(short) == 0:
                break
            free[short] = ~union(plane, box, self.boxes, len(short), rng)
        else:
            raise AssertionError(f"{MAX_ROUNDS} redraws did not help {len(short)} samples of {batch}")
        seen = torch.from_numpy(free)[:, None]  # [B, 1, N]
        return [Masks(first(seen), first(~seen)) if self.official else Masks.from_bool(seen, ~seen, rng)]

    def size(self, plane: Plane, u: float, v: float, w: float) -> Box:
        """The box at these fractions of the intervals of duration, scale and aspect."""
        long = plane.depth * uniform(self.duration, u)
        depth = max(1, math.floor(long) if self.official else round(long))
        share = uniform(self.scale, v)
        if not self.official:
            return Box(depth, *block_size(plane, share, log_uniform(self.aspect, w)))
        area, aspect = math.floor(plane.area * share), uniform(self.aspect, w)
        h, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        return Box(depth, min(max(h, 1), plane.rows), min(max(width, 1), plane.cols))

    def _check(self, plane: Plane) -> None:
        # Not what was drawn now but the largest boxes that a draw can give: a run fails at its first step or never.
        net = [step / 32 for step in range(33)]
        box = max((self.size(plane, 1.0, v, w) for v in net for w in net), key=lambda box: box.h * box.w)
        rate = acceptance(plane, box, self.boxes, self.min_context)
        if rate < MIN_ACCEPTANCE:
            raise UserError(
                f"masks do not fit on a grid of {plane.depth} x {plane.rows} x {plane.cols} tokens: {self.boxes} boxes of "
                f"{box.depth} x {box.h} x {box.w} (masks.scale={list(self.scale)}, masks.duration={list(self.duration)}) "
                f"must leave at least masks.min_context={self.min_context} tokens to see, but only {rate:.0%} of draws do; "
                "lower boxes, scale or duration, or use longer or larger clips or smaller patches"
            )


@final
class Several(MaskSampler):
    """The masks of several samplers, one after another: each is a question of its own about the same observation.

    Args:
        parts: the samplers.
    """

    def __init__(self, parts: Sequence[MaskSampler]) -> None:
        if not parts:
            raise UserError("masks.parts is empty; name at least one sampler")
        self.parts = list(parts)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw with every part in turn."""
        return [masks for part in self.parts for masks in part(grid, batch, rng)]


def union(plane: Plane, box: Box, boxes: int, batch: int, rng: torch.Generator) -> Bool[np.ndarray, "B N"]:
    """True for the tokens, row by row, that lie in any of the boxes, which are placed uniformly."""
    u = torch.rand(3, batch, boxes, generator=rng).numpy()

    def inside(axis: int, extent: int, length: int) -> np.ndarray:
        return span((u[axis] * (extent - length + 1)).astype(np.int64), length, extent)  # [B, M, extent]

    times = inside(0, plane.depth, box.depth)
    rows, cols = inside(1, plane.rows, box.h), inside(2, plane.cols, box.w)
    if box.depth == plane.depth:  # all boxes span all of time: one slice says it all
        slices = rows.transpose(0, 2, 1) @ cols > 0  # [B, rows, cols]
        return np.tile(slices.reshape(batch, -1), plane.depth)
    area = (rows[..., :, None] * cols[..., None, :]).reshape(batch, boxes, -1)  # [B, M, rows*cols]
    inside_any: Bool[np.ndarray, "B depth A"] = times.transpose(0, 2, 1) @ area > 0
    return inside_any.reshape(batch, -1)


def first(members: Bool[Tensor, "B 1 N"]) -> Tensor:
    """The first members of each set, as many as the smallest set has, in ascending order `[B, 1, K]`."""
    length = int(members.sum(-1).min())
    kept = members & (members.cumsum(-1) <= length)
    return kept.nonzero()[:, -1].reshape(len(members), 1, length)


@functools.cache
def acceptance(plane: Plane, box: Box, boxes: int, min_context: int) -> float:
    """The share of samples that leave enough to see at their first draw, estimated from 256 of them."""
    taken = union(plane, box, boxes, 256, torch.Generator().manual_seed(0))
    return float(((~taken).sum(-1) >= min_context).mean())
