"""The image pipeline: images per second and core, against PIL with torchvision's transforms.

    python -m benchmarks.loader

Photographs (of scikit-image) as JPEG files; every pipeline makes the same random crops of 224 pixels and collates batches. The
common one decodes with PIL, crops, resizes, makes floats and normalises; ours hands on uint8, normalised later on the device.
Processor time, one thread, in turns. Quality is the mean PSNR against the same crop decoded in full and resized by PIL's
antialiased filter (an error of one grey level in every second value is 51 dB).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.photos import PHOTOS
from benchmarks.timing import interleaved
from benchmarks.train_step import picture
from modalities.image.observations import ImageFiles, View
from modalities.image.transforms import Box, sample_crop, to_tensor
from worldjepa.data.paths import PathTable

SIZE, SCALE = 224, (0.3, 1.0)
NORMALISE = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def write(folder: Path, width: int, height: int, kind: str, quality: int) -> list[str]:
    """Write every photograph at one size; returns the paths."""
    paths = []
    for name in PHOTOS:
        path = folder / f"{name}-{width}-{quality}.{kind}"
        options = {"quality": quality} if kind == "jpg" else {}
        picture(name, width, height).save(path, **options)
        paths.append(str(path))
    return paths


def generator(index: int) -> torch.Generator:
    """The generator of one crop."""
    return torch.Generator().manual_seed(index)


def exact(path: str, box: Box) -> Image.Image:
    """The crop, decoded in full, resized by PIL."""
    with Image.open(path) as image:
        corner = (box.left, box.top, box.left + box.width, box.top + box.height)
        return image.convert("RGB").crop(corner).resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def common(paths: list[str]) -> Tensor:
    """A batch by PIL and torchvision's transforms: float32, normalised."""
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), NORMALISE])
    batch = []
    for index, path in enumerate(paths):
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        box = sample_crop(*rgb.size, generator(index), SCALE)
        cut = v2.functional.resized_crop(rgb, box.top, box.left, box.height, box.width, [SIZE, SIZE])
        batch.append(to_float(cut))
    return torch.stack(batch)


def ours(files: ImageFiles) -> Tensor:
    """A batch by our pipeline: uint8."""
    return torch.stack([files.observe(index, generator(index)) for index in range(len(files))])


def psnr(files: ImageFiles) -> float:
    """Mean peak signal-to-noise ratio of our crops in decibels."""
    found = []
    for index in range(len(files)):
        with Image.open(files.path(index)) as image:
            box = sample_crop(*image.size, generator(index), SCALE)
        truth = to_tensor(exact(files.path(index), box)).double()
        error = (files.observe(index, generator(index)).double() - truth).square().mean()
        found.append(float(10 * torch.log10(255**2 / error.clamp(min=1e-9))))
    return statistics.mean(found)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    table = Table(title=f"random crops of {SIZE} pixels, one core")
    for heading in ("files", "KB", "PIL + torchvision, img/s", "ours, img/s", "ratio", "PSNR, dB"):
        table.add_column(heading, justify="left" if heading == "files" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for width, height, kind, quality in (
            (500, 375, "jpg", 90),
            (500, 375, "jpg", 95),
            (1600, 1200, "jpg", 90),
            (500, 375, "png", 0),
        ):
            paths = write(Path(folder), width, height, kind, quality)
            files = ImageFiles("", PathTable(paths), View(SIZE, 3, SCALE))
            times = interleaved({"common": partial(common, paths), "ours": partial(ours, files)}, rounds)
            kilobytes = np.mean([Path(path).stat().st_size for path in paths]) / 1e3
            rates = [len(paths) / times[name] for name in ("common", "ours")]
            label = f"{kind} {width} x {height}" + (f", quality {quality}" if kind == "jpg" else "")
            row = [label, f"{kilobytes:.0f}", *(f"{rate:.0f}" for rate in rates), f"{rates[1] / rates[0]:.2f}"]
            table.add_row(*row, f"{psnr(files):.1f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
