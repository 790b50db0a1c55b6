"""Statistics of a batch that is spread over several processes.

Measurements are taken by one process while the others wait, and without gradients: there nothing is exchanged.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.nn.functional import all_gather, all_reduce


def ranks() -> int:
    """How many processes take this step together; 1 where no gradient is asked for."""
    there = dist.is_available() and dist.is_initialized() and torch.is_grad_enabled()
    return dist.get_world_size() if there else 1


def mean_over_ranks(mean: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The mean over all processes, with its gradient."""
    count = ranks()
    if count == 1:
        return mean
    reduced: Tensor = all_reduce(mean)  # type: ignore[no-untyped-call]
    return reduced / count


def gathered(rows: Float[Tensor, "N D"]) -> Float[Tensor, "N_all D"]:
    """The rows of all processes, which have equally many, with their gradient."""
    if ranks() == 1:
        return rows
    return torch.cat(all_gather(rows.contiguous()))  # type: ignore[no-untyped-call]
