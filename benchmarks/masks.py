"""Mask sampling: all samples of a batch at once against one sample after another, and against a whole training step.

    python -m benchmarks.masks

The loop is the textbook's: for each image draw each block, build its index set, and draw contexts until one is large enough.
It is written out here from the published rules, in PyTorch as the original is.
"""

from __future__ import annotations

import argparse
import math

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import interleaved
from modalities.image.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.jepa import JEPA
from worldjepa.masks import MultiBlock, MultiBlockOfficial, Random
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA
from worldjepa.types import Batch, Grid


def loop(side: int, batch: int, rng: torch.Generator, targets: int = 4, min_keep: int = 10) -> tuple[Tensor, Tensor]:
    """Multi-block masks, sample by sample: contexts `[B, K]` and targets `[B, M, Q]`."""
    u, v = torch.rand(2, generator=rng).tolist()
    area, aspect = math.floor(side * side * (0.15 + u * 0.05)), 0.75 + u * 0.75
    h, w = (min(side - 1, round(math.sqrt(x))) for x in (area * aspect, area / aspect))
    reach = min(side - 1, round(math.sqrt(math.floor(side * side * (0.85 + v * 0.15)))))

    def block(height: int, width: int) -> Tensor:
        top = int(torch.randint(0, side - height, (1,), generator=rng))
        left = int(torch.randint(0, side - width, (1,), generator=rng))
        plane = torch.zeros(side, side, dtype=torch.int32)
        plane[top : top + height, left : left + width] = 1
        return plane

    contexts, all_targets = [], []
    for _ in range(batch):
        blocks = [block(h, w) for _ in range(targets)]
        while True:
            context = block(reach, reach)
            for taken in blocks:
                context = context * (1 - taken)
            indices = torch.nonzero(context.flatten()).squeeze(1)
            if len(indices) > min_keep:
                break
        contexts.append(indices)
        all_targets.append(torch.stack([torch.nonzero(taken.flatten()).squeeze(1) for taken in blocks]))
    shortest = min(len(indices) for indices in contexts)
    return torch.stack([indices[:shortest] for indices in contexts]), torch.stack(all_targets)


def compare(console: Console, rounds: int) -> None:
    """Print the time of a batch of masks by each sampler and its ratio to the loop."""
    table = Table(title="milliseconds of CPU time for a batch of masks, one thread (ratio to the loop)")
    samplers = {"multiblock": MultiBlock(), "multiblock_official": MultiBlockOfficial(), "random": Random()}
    for column in ("grid", "batch", "loop", *samplers):
        table.add_column(column, justify="right")
    for side, pixels in ((14, "224/16"), (16, "224/14"), (28, "448/16")):
        for batch in (32, 128, 2048):
            rng = torch.Generator().manual_seed(0)
            work = {"loop": lambda side=side, batch=batch, rng=rng: loop(side, batch, rng)}
            for name, sampler in samplers.items():
                work[name] = lambda s=sampler, side=side, batch=batch, rng=rng: s(Grid(1, side, side), batch, rng)
            times = interleaved(work, max(3, rounds * 128 // max(batch, 128)))
            row = [f"{times[name] * 1e3:.2f} ({times['loop'] / times[name]:.0f}x)" for name in samplers]
            table.add_row(pixels, str(batch), f"{times['loop'] * 1e3:.1f}", *row)
    console.print(table)


def share(console: Console, rounds: int) -> None:
    """Print what part of a training step its masks take, for the smallest model that we ship and for ViT-tiny."""
    table = Table(title="masks as a share of a training step, CPU time, one thread, float32")
    for column in ("model", "batch", "step ms", "masks ms", "share"):
        table.add_column(column, justify="right")
    for name, size, patch, dim, depth, heads, width, batch in (
        ("quickstart, 64/8", 64, 8, 96, 4, 3, 48, 32),
        ("vitt16, 224/16", 224, 16, 192, 12, 3, 192, 8),
    ):
        torch.manual_seed(0)
        encoder = ViT(Patches(patch, dim, 3), dim, depth, heads)
        predictor = MaskTokenViT(dim, width, 2 if dim == 96 else 6, heads)
        model = JEPA(encoder, predictor, EMA(encoder, 1), SmoothL1())
        images, grid, sampler = torch.randn(batch, 3, size, size), encoder.grid((3, size, size)), MultiBlock()
        rng = torch.Generator().manual_seed(0)

        def draw(sampler=sampler, grid=grid, batch=batch, rng=rng):
            return sampler(grid, batch, rng)

        masks = draw()

        def step(model=model, images=images, masks=masks):
            model.zero_grad()
            sum(model(Batch(images, masks)).values()).backward()

        times = interleaved({"step": step, "masks": draw}, max(5, rounds // 3))
        part = times["masks"] / times["step"]
        table.add_row(name, str(batch), f"{times['step'] * 1e3:.0f}", f"{times['masks'] * 1e3:.2f}", f"{part:.2%}")
    console.print(table)


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of a batch of 128")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    console = Console(width=120)
    compare(console, rounds)
    share(console, rounds)


if __name__ == "__main__":
    main()
