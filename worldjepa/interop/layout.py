"""What every layout answers: is this one of yours, and what is in it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from worldjepa.interop.sizes import JEPA, Ask, Family
from worldjepa.interop.source import Source
from worldjepa.interop.view import View

Node = Mapping[str, Any]
"""A part of a model as a configuration: its `_target_` and the arguments of its constructor."""


class Part(NamedTuple):
    """An encoder or a predictor: how to build it and the weights of it, under our names."""

    node: Node
    weights: Mapping[str, Tensor]


class Found(NamedTuple):
    """What a checkpoint holds."""

    layout: str
    encoder: Part
    predictor: Part | None
    image: tuple[int, ...] | None
    """The shape of what it was trained on, where that is known: channels, frames in case of clips, height and width."""
    licence: str | None
    """What to tell about the terms that the weights come with."""
    steps: int | None = None
    """Optimiser steps that they were trained for, where that is known."""
    view: View | None = None
    """How its observations were seen in training, where that is known."""


class Layout(NamedTuple):
    """One way to lay out a checkpoint."""

    name: str
    matches: Callable[[Source], bool]
    """Whether a file or folder looks like it, without a look at all of it."""
    read: Callable[[Source, Ask], Found]
    """Read it. Raises `UserError` if anything is missing or left over."""
    family: Family = JEPA
    """The published sizes, which tell the number of heads."""


NON_COMMERCIAL = "CC BY-NC 4.0"
OWN = " (if these are of your own making, they are yours)"


def meta_terms(where: object, certain: bool, method: str = "I-JEPA") -> str:
    """What to tell about weights in a layout of I-JEPA or V-JEPA."""
    terms = f"licensed {NON_COMMERCIAL}: not for commercial use"
    return f"{where}: Meta's {method} weights are {terms}" + ("" if certain else OWN)


def vjepa2_terms(where: object, certain: bool) -> str:
    """What to tell about weights in a layout of V-JEPA 2."""
    terms = "under the MIT licence, some of its files under Apache-2.0"
    return f"{where}: Meta published V-JEPA 2 {terms}" + ("" if certain else OWN)
