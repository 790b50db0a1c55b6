"""From decoded frames to the uint8 clip that a network sees: the training crop and the evaluation view.

The same crop and the same flip hold for all frames. Both views resize with an antialiased bilinear filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.data.crops import Box, sample_crop
from worldjepa.errors import Unreadable, UserError

RATIO = (0.75, 1.35)
"""Aspect ratios, width to height, of V-JEPA's training crops."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class View(NamedTuple):
    """How frames are brought to one shape."""

    size: int
    """Side of the square clips, in pixels."""
    channels: int
    """1 for grey, 3 for RGB."""
    crop_scale: tuple[float, float] | None
    """Range of the area of training crops, as a fraction of the frame; None takes frames as they are, of the right size."""
    flip: float
    """How often training clips are mirrored."""

    def training(self, frames: UInt8[ndarray, "T H W 3"], rng: torch.Generator) -> UInt8[Tensor, "C T size size"]:
        """A random crop, mirrored or not (V-JEPA, official configurations).

        Raises:
            Unreadable: frames that are to be taken as they are have another size.
        """
        if self.crop_scale is None:
            clip = self._as_they_are(frames)
        else:
            height, width = frames.shape[1:3]
            box = sample_crop(width, height, rng, self.crop_scale, RATIO)
            clip = self._resized(frames, box)
        mirrored = self.flip > 0 and float(torch.rand((), generator=rng)) < self.flip
        return (clip.flip(-1) if mirrored else clip).contiguous()

    def evaluation(self, frames: UInt8[ndarray, "T H W 3"]) -> UInt8[Tensor, "C T size size"]:
        """The short side brought to 256/224 of `size`, then the central square.

        Raises:
            Unreadable: frames that are to be taken as they are have another size.
        """
        if self.crop_scale is None:
            return self._as_they_are(frames)
        height, width = frames.shape[1:3]
        # The square that would be left is cut out first: less to resize, the same pixels but for the filter at the edge.
        side = min(round(min(height, width) * 224 / 256), height, width)
        box = Box((width - side) // 2, (height - side) // 2, side, side)
        return self._resized(frames, box).contiguous()

    def _as_they_are(self, frames: UInt8[ndarray, "T H W 3"]) -> UInt8[Tensor, "c T H W"]:
        height, width = frames.shape[1:3]
        if (height, width) != (self.size, self.size):
            raise Unreadable(f"has frames of {width} x {height} pixels, not {self.size} x {self.size}")
        return torch.from_numpy(self._channels(frames)).permute(3, 0, 1, 2).contiguous()

    def _resized(self, frames: UInt8[ndarray, "T H W 3"], box: Box) -> UInt8[Tensor, "c T size size"]:
        part = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
        clip = torch.from_numpy(self._channels(part)).permute(0, 3, 1, 2)  # [T, C, h, w]
        return F.interpolate(clip, (self.size, self.size), mode="bilinear", antialias=True).transpose(0, 1)

    def _channels(self, frames: UInt8[ndarray, "T H W 3"]) -> UInt8[ndarray, "T H W c"]:
        if self.channels == 3:
            return np.ascontiguousarray(frames)
        return np.rint(frames @ _LUMA)[..., None].astype(np.uint8)


def checked_view(size: int, channels: int, crop_scale: Sequence[float] | None, flip: float) -> View:
    """Build a view.

    Raises:
        UserError: a value is out of its range.
    """
    if size < 1:
        raise UserError(f"size must be at least 1 pixel: {size}")
    if channels not in (1, 3):
        raise UserError(f"channels must be 1 (grey) or 3 (RGB): {channels}")
    if not 0 <= flip <= 1:
        raise UserError(f"flip must be between 0 and 1: {flip}")
    if crop_scale is None:
        return View(int(size), int(channels), None, float(flip))
    if len(crop_scale) != 2 or not 0 < crop_scale[0] <= crop_scale[1] <= 1:
        raise UserError(f"crop_scale must be two fractions, 0 < smallest <= largest <= 1: {list(crop_scale)}")
    return View(int(size), int(channels), (float(crop_scale[0]), float(crop_scale[1])), float(flip))
