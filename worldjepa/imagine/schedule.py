"""How noise is added to pictures and taken away again: the cosine schedule, v-prediction, deterministic sampling.

Time runs from 0, the picture, to 1, nothing but noise: `x_t = a x + s e` with `a = cos(pi t / 2)`, `s = sin(pi t / 2)`. What a
network predicts is `v = a e - s x`, from which picture and noise follow by a rotation.

Where something is decided by many pixels together, such as the place of a bright dot or a motion through all frames, it shows
through much more noise than a single pixel does, and is decided when nearly everything is noise. So more of the time is
spent there: see `noisier`.

Source: Salimans and Ho (arXiv 2202.00512), appendix D; DDIM (arXiv 2010.02502), equation 12 without noise; the shift, Hoogeboom
et al. (arXiv 2301.11093), section 3.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def noisier(t: Float[Tensor, "*b"], shift: float) -> Float[Tensor, "*b"]:
    """The time at which there is so many times as much noise beside the picture, `s / a`, as at t; both ends stay."""
    angle = t * (math.pi / 2)
    return torch.atan2(shift * angle.sin(), angle.cos()) / (math.pi / 2)


class Mixed(NamedTuple):
    """Pictures with noise, and what a network should say of them."""

    noisy: Float[Tensor, "B C H W"]
    v: Float[Tensor, "B C H W"]


def shares(t: Float[Tensor, " B"]) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
    """How much there is of the picture and of the noise, `a` and `s`; their squares add up to 1."""
    angle = (t * (math.pi / 2))[:, None, None, None]
    return angle.cos(), angle.sin()


def mix(picture: Float[Tensor, "B C H W"], noise: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]) -> Mixed:
    """The picture at time t, and its v."""
    a, s = shares(t)
    return Mixed(a * picture + s * noise, a * noise - s * picture)


def picture_of(
    noisy: Float[Tensor, "B C H W"], v: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """The picture that v speaks of."""
    a, s = shares(t)
    return a * noisy - s * v


def noise_of(
    noisy: Float[Tensor, "B C H W"], v: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """The noise that v speaks of."""
    a, s = shares(t)
    return s * noisy + a * v


def ddim(
    noise: Float[Tensor, "B C H W"],
    predict: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    low: Tensor | None = None,
    high: Tensor | None = None,
    shift: float = 1.0,
) -> Float[Tensor, "B C H W"]:
    """From noise to pictures in so many steps, without drawing anything.

    Args:
        noise: where to begin.
        predict: says v of noisy pictures `[B, C, H, W]` at times `[B]`.
        steps: how many.
        low: at every step, keep the picture that is foreseen above this.
        high: and below this.
        shift: steps are equal in the time that this makes `noisier`.
    """
    x = noise
    times = noisier(torch.linspace(1, 0, steps + 1, device=noise.device), shift)
    for now, then in itertools.pairwise(times):
        t, later = now.expand(len(x)), then.expand(len(x))
        v = predict(x, t)
        picture, rest = picture_of(x, v, t), noise_of(x, v, t)
        if low is not None or high is not None:
            picture = picture.clamp(low, high)
        a, s = shares(later)
        x = a * picture + s * rest
    return x
