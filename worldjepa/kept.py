"""Masks of which little is seen: small blocks are kept, and all else is asked (data2vec 2.0)."""

from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from jaxtyping import Int

from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.masks import Plane, check_positive, span
from worldjepa.types import Grid, Masks, ascending


@final
class KeptBlocks(MaskSampler):
    """Small blocks at random places are seen, the rest is asked; several such draws share one observation.

    Blocks are placed until they cover what is to be seen; of the last one only as many tokens count, at random, as are still
    wanted. They may overlap one another and reach beyond the edges, so that every token is seen equally often. On videos they
    span all of time.

    Args:
        ratio: share of the tokens that is hidden.
        block: side of a block in tokens.
        contexts: draws for each observation; each is a context set with a target set of its own, C = M.

    Raises:
        UserError: an argument is out of range; on a call, nothing would be left to see or to ask.

    Source: the inverse block masks and the multi-mask training of data2vec 2.0 (arXiv 2212.07525), sections 3.3 and 3.4.
    """

    def __init__(self, ratio: float = 0.8, block: int = 3, contexts: int = 8) -> None:
        if not 0 < ratio < 1:
            raise UserError(f"masks.ratio must lie between 0 and 1, not {ratio}")
        self.ratio = ratio
        self.block = check_positive("block", block)
        self.contexts = check_positive("contexts", contexts)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, C, K]` and target `[B, C, N - K]`."""
        plane = Plane.of(grid)
        seen = plane.area - round(plane.area * self.ratio)
        if not 0 < seen < plane.area:
            raise UserError(
                f"masks.ratio={self.ratio} of {plane.rows} x {plane.cols} tokens hides {plane.area - seen}: nothing is left to "
                f"{'see' if seen == 0 else 'ask'}"
            )
        order = self._order(plane, seen, batch * self.contexts, rng)
        parts = (np.sort(part, -1) for part in (order[:, :seen], order[:, seen:]))
        slices = np.arange(plane.depth)[:, None] * plane.area  # [depth, 1]
        whole = ((slices + part[:, None]).reshape(batch, self.contexts, -1) for part in parts)
        return [Masks(*(ascending(part.astype(np.uint64)) for part in whole))]

    def _order(self, plane: Plane, seen: int, draws: int, rng: torch.Generator) -> Int[np.ndarray, "draws A"]:
        """The tokens of one slice `[draws, A]`, those of the first block first, then what the second adds, and so on."""
        h, w = min(self.block, plane.rows), min(self.block, plane.cols)
        blocks = max(
            4, math.ceil(4 * seen / (h * w))
        )  # what they leave uncovered by chance comes last, in random order
        u = torch.rand(2, draws, blocks, generator=rng).numpy()
        top = (u[0] * (plane.rows + h - 1)).astype(np.int64) - (h - 1)
        left = (u[1] * (plane.cols + w - 1)).astype(np.int64) - (w - 1)
        rows, cols = span(top, h, plane.rows), span(left, w, plane.cols)  # [draws, blocks, rows], [draws, blocks, cols]
        inside = (rows[..., :, None] * cols[..., None, :]).reshape(draws, blocks, -1) > 0
        rank = np.where(inside.any(1), inside.argmax(1), blocks)  # the first block that covers a token
        shuffled = rank + torch.rand(draws, plane.area, generator=rng, dtype=torch.float64).numpy()
        order: Int[np.ndarray, "draws A"] = shuffled.argsort(-1)
        return order
