"""Real photographs without a download: crops of scikit-image's bundled pictures, "which photo is this crop from?"

    python -m benchmarks.photos --out /tmp/photos
    worldjepa train data.root=/tmp/photos data.size=64 preset=quickstart

Writes PNG crops in class folders. Training crops come from the left part of every photograph, test crops from the right one,
with a gap between them: no pixel is in both. Needs the extra `photos`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PHOTOS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""The large ones among those that the scikit-image wheel carries; the horse (two colours) and diagrams are left out."""

SUFFIXES = (".png", ".jpg")


def photograph(name: str) -> NDArray[np.uint8]:
    """The pixels of a bundled photograph, RGB `[H, W, 3]`."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for suffix in SUFFIXES:
        file = folder / f"{name}{suffix}"
        if file.exists():
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB"))
    raise FileNotFoundError(f"scikit-image does not carry {name}: looked for {SUFFIXES} in {folder}")


def crops(
    pixels: NDArray[np.uint8], columns: range, count: int, side: int, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Square crops of random size (side to twice side) inside a range of columns, scaled to `side` pixels."""
    height = pixels.shape[0]
    result = []
    for _ in range(count):
        size = int(rng.integers(side, min(2 * side, height, len(columns)) + 1))
        top = int(rng.integers(0, height - size + 1))
        left = int(rng.integers(columns.start, columns.stop - size + 1))
        crop = Image.fromarray(pixels[top : top + size, left : left + size])
        result.append(np.asarray(crop.resize((side, side), Image.Resampling.BOX)))
    return result


def write(out: Path, side: int, train: int, test: int, seed: int) -> None:
    """Write `out/train/PHOTO/*.png` and `out/test/PHOTO/*.png`."""
    for number, name in enumerate(PHOTOS):
        pixels = photograph(name)
        width = pixels.shape[1]
        halves = {"train": (range(int(width * 0.58)), train), "test": (range(int(width * 0.62), width), test)}
        for split, (columns, count) in halves.items():
            folder = out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([seed, number, split == "test"])
            for index, crop in enumerate(crops(pixels, columns, count, side, rng)):
                Image.fromarray(crop).save(folder / f"{index:04d}.png")


def main() -> None:
    """Write the crops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--train", type=int, default=300, help="training crops of each photograph")
    parser.add_argument("--test", type=int, default=60, help="test crops of each photograph")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.out, options.side, options.train, options.test, options.seed)
    print(
        f"{len(PHOTOS)} photographs, {options.train} + {options.test} crops of {options.side} pixels each: {options.out}"
    )


if __name__ == "__main__":
    main()
