"""Several views of one image: random crops whose colours are changed at random.

Randomness comes from the generator that is passed in and from nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from modalities.image.transforms import resize
from worldjepa.data.crops import sample_crop
from worldjepa.data.views import Views
from worldjepa.errors import UserError

SOLARISED_FROM = 128
"""Solarising inverts values from here on."""
SIGMA = (0.1, 2.0)
"""Range of a blur's standard deviation in pixels, for any size of view (BYOL)."""

Change = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Look(Views):
    """How some views of an image are made: a random crop, then each change with a chance of its own, in this order.

    Args:
        count: how many views are made so.
        crop_scale: range of the crop's area, as a fraction of the image.
        flip: chance of a mirror image.
        jitter: chance that brightness, contrast, saturation and hue change, in random order.
        strength: how much each of the four may change: factors from 1 - s to 1 + s, and for the hue turns from -s to s.
        grey: chance that the colours go.
        blur: chance of a Gaussian blur.
        solarise: chance that bright values are inverted.
        invert: chance that all values are inverted: dark things on bright ground become bright things on dark ground.
        spin: colours are turned about the grey axis, by up to so many turns either way: hues change as with `strength`, but the
            grey value of a thing and of its ground stay as they are, so that it cannot vanish in a grey image.
        rotate: the image is first turned about its middle, by up to so many degrees either way; what comes in from beyond
            the edges is its mirror image.

    Raises:
        UserError: a value is out of its range.

    Source: SimCLR (arXiv 2002.05709) and BYOL (arXiv 2006.07733), appendix B.
    """

    count: int = 1
    crop_scale: Sequence[float] = (0.08, 1.0)
    flip: float = 0.5
    jitter: float = 0.8
    strength: Sequence[float] = (0.4, 0.4, 0.2, 0.1)
    grey: float = 0.2
    blur: float = 0.5
    solarise: float = 0.0
    invert: float = 0.0
    spin: float = 0.0
    rotate: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"views.looks.count must be at least 1: {self.count}")
        scale = list(self.crop_scale)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"views.looks.crop_scale must be two fractions, 0 < smallest <= largest <= 1: {scale}")
        for name in ("flip", "jitter", "grey", "blur", "solarise", "invert"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"views.looks.{name} is a chance, from 0 to 1: {getattr(self, name)}")
        if not 0 <= self.spin <= 0.5:
            raise UserError(f"views.looks.spin must be turns from 0 to 0.5: {self.spin}")
        if not 0 <= self.rotate <= 180:
            raise UserError(f"views.looks.rotate is an angle in degrees, from 0 to 180: {self.rotate}")
        strength = list(self.strength)
        if len(strength) != 4 or not all(0 <= one <= most for one, most in zip(strength, (1, 1, 1, 0.5), strict=True)):
            raise UserError(
                "views.looks.strength must be four numbers, for brightness, contrast and saturation from 0 to 1, for hue "
                f"from 0 to 0.5: {strength}"
            )

    def view(self, pixels: UInt8[Tensor, "C H W"], size: int, rng: torch.Generator) -> UInt8[Tensor, "C size size"]:
        """One view."""
        import torchvision.transforms.v2.functional as ops  # takes a while: only where it is used

        if self.rotate:
            pixels = turned(pixels, self.rotate * (2 * float(torch.rand((), generator=rng)) - 1))
        box = sample_crop(pixels.shape[2], pixels.shape[1], rng, (self.crop_scale[0], self.crop_scale[1]))
        x = resize(pixels[:, box.top : box.top + box.height, box.left : box.left + box.width], size)
        flip, jitter, grey, blur, solarise, *u = torch.rand(10, generator=rng).tolist()
        order = torch.randperm(4, generator=rng).tolist()
        if flip < self.flip:
            x = x.flip(-1)
        if jitter < self.jitter:
            changes = self._changes(u)
            for which in order:
                x = changes[which](x)
        if grey < self.grey and len(x) == 3:
            x = ops.rgb_to_grayscale(x, num_output_channels=3)
        if blur < self.blur:
            x = ops.gaussian_blur(x, [kernel(size)] * 2, [SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u[4]] * 2)
        if solarise < self.solarise:
            x = ops.solarize(x, SOLARISED_FROM)
        if self.spin and len(x) == 3:
            x = spun(x, self.spin * (2 * float(torch.rand((), generator=rng)) - 1))
        if self.invert and float(torch.rand((), generator=rng)) < self.invert:
            x = ops.invert(x)
        return x

    def _changes(self, u: Sequence[float]) -> list[Change]:
        """The four changes of colour, their amounts taken from uniform numbers; those of colour leave grey images alone."""
        import torchvision.transforms.v2.functional as ops

        away = [s * (2 * one - 1) for s, one in zip(self.strength, u, strict=False)]
        coloured: list[Change] = [lambda x: ops.adjust_saturation(x, 1 + away[2]), lambda x: ops.adjust_hue(x, away[3])]
        return [
            lambda x: ops.adjust_brightness(x, 1 + away[0]),
            lambda x: ops.adjust_contrast(x, 1 + away[1]),
            *(lambda x, change=change: change(x) if len(x) == 3 else x for change in coloured),
        ]


@final
class Looks(Views):
    """Views of images, by their looks: the first look's views come first. With one view it is an augmentation like any other.

    Views are cut from the whole image; the crops that a data source makes otherwise are not.

    Args:
        looks: how they are made.

    Raises:
        UserError: there are none.
    """

    def __init__(self, looks: Sequence[Look]) -> None:
        if not looks:
            raise UserError("views.looks is empty; for one view as the data make it choose views=none")
        self.looks = list(looks)
        self.count = sum(look.count for look in looks)

    def views(
        self, pixels: UInt8[Tensor, "C H W"], size: int, rng: torch.Generator
    ) -> UInt8[Tensor, "*views C {size} {size}"]:
        """All views of one image, as `Observations.observe` gives them: several side by side, a single one as it is."""
        each = [look.view(pixels, size, rng) for look in self.looks for _ in range(look.count)]
        return torch.stack(each) if self.count > 1 else each[0]


def turned(pixels: UInt8[Tensor, "C H W"], degrees: float) -> UInt8[Tensor, "C H W"]:
    """The image turned about its middle, counter-clockwise; beyond its edges lies its mirror image."""
    height, width = pixels.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Coordinates run from -1 to 1 along both sides, however long these are.
    turn = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]])
    grid = F.affine_grid(turn[None], [1, *pixels.shape], align_corners=False)  # [1, H, W, 2]
    return (
        F.grid_sample(pixels[None].float(), grid, padding_mode="reflection", align_corners=False)[0]
        .round()
        .to(torch.uint8)
    )


def spun(pixels: UInt8[Tensor, "3 H W"], turns: float) -> UInt8[Tensor, "3 H W"]:
    """Colours turned about the grey axis, on which red, green and blue are the same; the mean of the three stays."""
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    same, left, right = (
        (1 + 2 * cos) / 3,
        (1 - cos) / 3 - sin / math.sqrt(3),
        (1 - cos) / 3 + sin / math.sqrt(3),
    )
    turn = torch.tensor([[same, left, right], [right, same, left], [left, right, same]])
    turned_ = torch.einsum("dc,chw->dhw", turn, pixels.float())
    return turned_.round().clamp(0, 255).to(torch.uint8)


def kernel(size: int) -> int:
    """Extent of a blur in pixels: a tenth of the side, odd and at least 3 (SimCLR)."""
    return max(3, size // 10 | 1)
