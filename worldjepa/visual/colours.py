"""Colours from numbers: equal steps of a number are equal steps to the eye, and lightness alone tells them in order.

Source: OKLab (B. Ottosson, "A perceptual color space for image processing", 2020).
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray

from worldjepa.report.palette import DARK, SERIES

DARKEST, LIGHTEST = 0.18, 0.94
"""Lightness at 0 and at 1."""
HUES = (290.0, 105.0)
"""Hue in degrees at 0, violet, and at 1, yellow; on the way lie blue, teal and green."""
CHROMA = 0.084
"""As colourful as all of these can be on a screen."""
GREY = (225, 225, 225)

_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def linear_rgb(lab: Float64[ndarray, "*b 3"]) -> Float64[ndarray, "*b 3"]:
    """Linear RGB of OKLab colours; outside of [0, 1] where a screen cannot show them."""
    return np.asarray((lab @ _TO_LMS.T) ** 3 @ _TO_LINEAR.T)


def srgb(lab: Float64[ndarray, "*b 3"]) -> UInt8[ndarray, "*b 3"]:
    """The nearest colours that a screen can show."""
    linear = linear_rgb(lab).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * encoded), np.uint8)


@functools.cache
def ramp_lab(steps: int = 256) -> Float64[ndarray, "{steps} 3"]:
    """The colour map in OKLab: a helix around the grey axis, straight in lightness and hue, hence of even steps."""
    share = np.linspace(0, 1, steps)
    lightness = DARKEST + (LIGHTEST - DARKEST) * share
    hue = np.deg2rad(HUES[0] + (HUES[1] - HUES[0]) * share)
    return np.stack([lightness, CHROMA * np.cos(hue), CHROMA * np.sin(hue)], -1)


@functools.cache
def _ramp() -> UInt8[ndarray, "256 3"]:
    return srgb(ramp_lab())


def heat(values: Float[ndarray, "*b"], low: float = 0.0, high: float = 1.0) -> UInt8[ndarray, "*b 3"]:
    """Numbers as colours, dark at `low` and below, light at `high` and above; grey where there is no number."""
    known = np.isfinite(values)
    share = np.where(known, (values - low) / max(high - low, 1e-12), 0.0).clip(0, 1)
    colours = _ramp()[np.round(255 * share).astype(int)]
    return np.where(known[..., None], colours, np.array(GREY, np.uint8))


def three(values: Float[ndarray, "*b 3"]) -> UInt8[ndarray, "*b 3"]:
    """Three numbers from 0 to 1 as one colour: lightness, blue to yellow, green to red."""
    lightness, yellow, red = np.moveaxis(values.astype(np.float64).clip(0, 1), -1, 0)
    return srgb(np.stack([0.3 + 0.6 * lightness, 0.24 * (red - 0.5), 0.24 * (yellow - 0.5)], -1))


def of_set(number: int) -> UInt8[ndarray, " 3"]:
    """The colour of one of several things, told apart with any blindness; they begin anew after the sixth."""
    name = DARK[f"series{number % SERIES}"]
    return np.frombuffer(bytes.fromhex(name.removeprefix("#")), np.uint8)
