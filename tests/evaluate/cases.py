"""Splits of known structure, and splits on which validation and test disagree."""

from __future__ import annotations

import torch

from worldjepa.evaluate.results import Split


def clusters(n: int, classes: int = 4, dim: int = 6, noise: float = 1.2, seed: int = 0) -> Split:
    centres = 1.5 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.arange(n) % classes
    return Split(centres[y] + noise * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), y)


def relabelled(split: Split) -> Split:
    """The same vectors with other classes: what is right of them is wrong of the others."""
    return Split(split.x, (split.y + 1) % (int(split.y.max()) + 1))
