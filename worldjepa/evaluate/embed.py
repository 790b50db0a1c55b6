"""Embeddings: one vector an observation, from a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.evaluate.probes import Split
from worldjepa.interfaces import Encoder

Context = Callable[[], AbstractContextManager[object]]
"""Makes the context to run an encoder in, such as autocast."""

MOST_RAW = 4096
"""Raw observations with more values than this are averaged down before they are probed."""


def subset(observations: Observations, most: int | None) -> list[int]:
    """Indices of all observations, or of `most` spread evenly over them."""
    n = len(observations)
    if most is None or n <= most:
        return list(range(n))
    return [int(index) for index in np.linspace(0, n - 1, most).round()]


def batches(observations: Observations, indices: list[int], size: int) -> Iterator[Tensor]:
    """The evaluation views of the observations at `indices`, stacked."""
    for start in range(0, len(indices), size):
        yield torch.stack([observations.observe(index) for index in indices[start : start + size]])


@torch.no_grad()
def embed(
    encoder: Encoder,
    observations: Observations,
    indices: list[int],
    batch_size: int,
    device: torch.device,
    autocast: Context = nullcontext,
) -> Float[Tensor, "N D"]:
    """Mean-pooled representations of whole observations, in float32 on the CPU.

    Args:
        encoder: sees every token.
        observations: what to embed, in their evaluation views.
        indices: which of them.
        batch_size: observations per forward pass.
        device: where the encoder is.
        autocast: makes the context to run in, for mixed precision.

    Source: I-JEPA, appendix A.2 (average-pooled tokens of the target encoder).
    """
    was_training = encoder.training
    encoder.eval()
    parts = []
    with autocast():
        for batch in batches(observations, indices, batch_size):
            tokens = encoder(batch.to(device))
            parts.append(tokens.x.float().mean(1).cpu())
    encoder.train(was_training)
    return torch.cat(parts)


def raw(observations: Observations, indices: list[int], batch_size: int) -> Float[Tensor, "N D"]:
    """The observations themselves as vectors, averaged down along their last axes to at most `MOST_RAW` values."""
    parts = []
    for batch in batches(observations, indices, batch_size):
        parts.append(shrink(batch.float()).flatten(1))
    return torch.cat(parts)


def shrink(batch: Float[Tensor, "B ..."]) -> Tensor:
    """Average neighbouring values of the last two axes until an observation has at most `MOST_RAW` of them."""
    while batch[0].numel() > MOST_RAW and batch.ndim >= 3 and min(batch.shape[-2:]) >= 2:
        batch = F.avg_pool2d(batch.flatten(0, -4) if batch.ndim > 4 else batch, 2).reshape(
            *batch.shape[:-2], batch.shape[-2] // 2, batch.shape[-1] // 2
        )
    return batch


def labelled(x: Float[Tensor, "N D"], observations: Observations, indices: list[int], factor: str) -> Split:
    """Embeddings with the labels of one factor."""
    return Split(x, torch.from_numpy(observations.factors[factor].index[indices]).long())
