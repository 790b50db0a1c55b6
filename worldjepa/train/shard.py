"""Fully sharded data parallelism (FSDP2): every process holds a slice of all weights, gradients and moments.

Source: PyTorch's `fully_shard`; slices are along the first axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from worldjepa.interfaces import Encoder
from worldjepa.jepa import JEPA
from worldjepa.nn.blocks import Block

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def shard(model: JEPA, mesh: DeviceMesh) -> JEPA:
    """Shard a model in place, block by block, and return it.

    Each part is sharded as a whole of its own, the encoder and its moving average alike: a part may be called alone, as
    evaluation does, and the moving average is taken slice by slice.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    data = mesh["data_parallel"]
    for part in parts(model):
        for module in part.modules():
            if isinstance(module, Block):
                fully_shard(module, mesh=data, reshard_after_forward=True)
        # A part that no gradient goes through would never be put away again otherwise.
        fully_shard(part, mesh=data, reshard_after_forward=True)
        if isinstance(part, Encoder):
            register_fsdp_forward_method(part, "layers")
    return model


def parts(model: JEPA) -> list[nn.Module]:
    """The modules of a model that are called from outside and hold weights."""
    found = [model.encoder, model.predictor, *model.target.children(), model.objective]
    return [part for part in found if any(True for _ in part.parameters())]
