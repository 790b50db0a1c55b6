"""Counts the operations of whatever runs. This file needs nothing but PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Made = TypeVar("Made")


def counted(work: Callable[..., Made], *args: Any, **words: Any) -> tuple[Made, float]:
    """What the work makes of its arguments, and its operations in products and convolutions, two a pair.

    Attention is written out meanwhile: the counter does not know the processor's fused kernel.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        made = work(*args, **words)
    return made, float(counter.get_total_flops())
