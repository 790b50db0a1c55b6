"""Weight initialisation schemes, each under the name of what it does."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from worldjepa.errors import unknown
from worldjepa.nn.blocks import Block, Transformer

Scheme = Literal["normal", "rescaled", "xavier"]
SCHEMES = ("normal", "rescaled", "xavier")


def initialise(module: nn.Module, scheme: Scheme) -> None:
    """Draw all linear and patch-embedding weights below `module`; biases become 0, layer norms the identity.

    - `normal`: N(0, 0.02). What I-JEPA and V-JEPA in fact start from: their code also rescales by depth, then draws all
      linear layers again.
    - `rescaled`: the same, with the output layers of the l-th block (from 1) divided by sqrt(2 l), as V-JEPA 2 does.
    - `xavier`: uniform with variance 2 / (fan_in + fan_out), as MAE does. Learns faster in short trainings of small models.
    """
    if scheme not in SCHEMES:
        raise unknown("initialisation", scheme, SCHEMES)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if scheme == "xavier":
                nn.init.xavier_uniform_(part.weight.view(part.weight.shape[0], -1))
            else:
                # Cut at ±2, that is 100 standard deviations: the published bound, far outside anything drawn.
                nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    if scheme == "rescaled":
        for stack in (part for part in module.modules() if isinstance(part, Transformer)):
            rescale(stack)


@torch.no_grad()
def rescale(stack: Transformer) -> None:
    """Divide the output weights of the l-th block, counted from 1, by sqrt(2 l)."""
    for depth, block in enumerate(stack, start=1):
        assert isinstance(block, Block)
        block.attn.proj.weight.div_(math.sqrt(2.0 * depth))
        block.mlp.fc2.weight.div_(math.sqrt(2.0 * depth))
