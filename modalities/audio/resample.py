"""From any sample rate to any other, many waveforms at a time."""

from __future__ import annotations

import functools
from fractions import Fraction

from jaxtyping import Float
from torch import Tensor
from torchaudio.transforms import Resample

LARGEST_TERM = 1_000
"""Rates whose ratio has larger terms than this are resampled by the nearest ratio that has not."""


def resample(waves: Float[Tensor, "*b S"], rate: int, to: int) -> Float[Tensor, "*b R"]:
    """Bring waveforms from one rate to another by a windowed sinc filter (torchaudio's).

    The filter is made once for each pair of rates and used on all waveforms at once. It has as many taps as the terms of the
    ratio are large; for 44,101 to 16,000 Hz it would fill gigabytes. So that ratio is taken as 119/328, which is off by four
    millionths; the worst that can be is one in two thousand, less than a hundredth of a semitone.
    """
    if rate == to:
        return waves
    ratio = nearest_ratio(rate, to)
    made: Tensor = _filter(ratio.denominator, ratio.numerator)(waves)
    return made


def nearest_ratio(rate: int, to: int) -> Fraction:
    """`to / rate`, exact if its terms are at most `LARGEST_TERM`."""
    exact = Fraction(to, rate)
    if exact.numerator <= exact.denominator:
        return exact.limit_denominator(LARGEST_TERM)
    return 1 / (1 / exact).limit_denominator(LARGEST_TERM)


@functools.lru_cache(maxsize=32)
def _filter(source: int, target: int) -> Resample:
    return Resample(source, target)
