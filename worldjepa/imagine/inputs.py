"""Pictures of the user's, brought to the shape that a model sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from worldjepa.data.pictures import read_image
from worldjepa.errors import UserError

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


def read_inputs(paths: Sequence[Path], shape: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
    """Files, and the pictures of folders in the order of their names: the middle of each, at the size that is seen.

    Raises:
        UserError: a file cannot be read, or a folder holds no pictures.
    """
    files = [file for path in paths for file in _files(path)]
    return torch.stack([read_image(str(file), partial(_seen, shape=tuple(shape))) for file in files])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in KINDS)
    if not found:
        raise UserError(f"inputs={path}: there is no picture in this folder")
    return found


def _seen(image: Image.Image, shape: tuple[int, ...]) -> UInt8[Tensor, "C H W"]:
    channels, height, width = shape
    scale = max(width / image.width, height / image.height)
    plain = image.convert("L" if channels == 1 else "RGB")
    size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    large = plain.resize(size, Image.Resampling.BICUBIC)
    left, top = (large.width - width) // 2, (large.height - height) // 2
    pixels = np.array(large.crop((left, top, left + width, top + height)))
    return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1).contiguous()
