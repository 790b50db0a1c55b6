"""Arithmetic of a training step: multiplications and additions in matrix products and attention, counted as two per pair."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.contender import Size


class Flops(NamedTuple):
    """For one image, forward passes only."""

    target: float
    context: float
    predictor: float

    @property
    def step(self) -> float:
        """Of a whole training step: a backward pass costs twice its forward pass, and the target has none."""
        return self.target + 3 * (self.context + self.predictor)


def block(dim: int, tokens: int, asked: int) -> float:
    """One transformer block of which `asked` tokens are wanted, out of `tokens` that are attended to."""
    products = 2 * tokens * dim * 2 * dim + 2 * asked * dim * (dim + dim + 8 * dim)  # k and v; q, output, MLP
    return products + 2 * 2 * asked * tokens * dim


def count(size: Size, context: int, targets: int, target: int, pruned: bool = True) -> Flops:
    """Forward FLOPs of one image.

    Args:
        size: of the model.
        context: tokens that the context encoder sees.
        targets: target sets.
        target: tokens in each.
        pruned: the predictor's last block works for the target tokens only, and only seen patches are embedded.
    """
    tokens, width = (size.image // size.patch) ** 2, size.predictor_dim
    patch = 2 * 3 * size.patch**2 * size.dim
    both = context + target
    last = block(width, both, target if pruned else both)
    predictor = 2 * context * size.dim * width
    predictor += targets * (
        (size.predictor_depth - 1) * block(width, both, both) + last + 2 * target * size.dim * width
    )
    return Flops(
        tokens * patch + size.depth * block(size.dim, tokens, tokens),
        (context if pruned else tokens) * patch + size.depth * block(size.dim, context, context),
        predictor,
    )
