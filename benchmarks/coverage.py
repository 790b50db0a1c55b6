"""How often is each patch seen and asked? A table and a picture for every mask sampler.

    python -m benchmarks.coverage --picture docs/coverage.png

The first number of a pair belongs to the rarest patch of the grid, the second to the most frequent one. A sampler that never
shows, or never asks for, some patch has a 0 there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from worldjepa.interfaces import MaskSampler
from worldjepa.masks import MultiBlock, MultiBlockOfficial, Random
from worldjepa.types import Grid
from worldjepa.visual.masks import coverage as counted

SAMPLERS: dict[str, MaskSampler] = {
    "multiblock": MultiBlock(),
    "multiblock_official": MultiBlockOfficial(),
    "random": Random(),
}


def coverage(
    sampler: MaskSampler, side: int, batch: int, batches: int, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of samples in which each patch is context, and in which it is in some target; both `[side, side]`."""
    rng = torch.Generator().manual_seed(seed)
    found = counted(sampler, Grid(1, side, side), batch * batches, batch, rng)
    return found.context.reshape(side, side), found.target.reshape(side, side)


def main() -> None:
    """Print the table; draw the picture if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=16, help="patches along a side (16 is 224/14)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--picture", type=Path, help="write a PNG here (needs matplotlib)")
    options = parser.parse_args()
    maps = {name: coverage(s, options.side, options.batch, options.batches) for name, s in SAMPLERS.items()}
    table = Table(
        title=f"share of samples, {options.side} x {options.side} patches, batch {options.batch}, {options.batches} batches"
    )
    for column in ("masks=", "context: mean", "rarest to most", "target: mean", "rarest to most"):
        table.add_column(column, justify="right")
    for name, (seen, asked) in maps.items():
        table.add_row(
            name,
            *(text for m in (seen, asked) for text in (f"{m.mean():.3f}", f"{m.min():.3f} to {m.max():.3f}")),
        )
    Console(width=110).print(table)
    if options.picture is not None:
        draw(maps, options.picture)


def draw(maps: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], file: Path) -> None:
    """Heat maps of context and target coverage, one column a sampler, on one colour scale a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(maps), figsize=(3.4 * len(maps), 6.4), layout="constrained")
    for row, kind in enumerate(("context", "target")):
        top = max(pair[row].max() for pair in maps.values())
        for column, (name, pair) in enumerate(maps.items()):
            axis = axes[row, column]
            picture = axis.imshow(pair[row], vmin=0, vmax=top, cmap="viridis")
            axis.set_title(f"{name}\n{kind}: {pair[row].min():.2f} to {pair[row].max():.2f}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
        figure.colorbar(picture, ax=axes[row], label=f"share of samples as {kind}", shrink=0.8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
