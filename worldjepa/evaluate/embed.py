"""Embeddings: one vector an observation, from a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.data.views import stacked
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.results import Split
from worldjepa.interfaces import Encoder
from worldjepa.types import Tokens

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


class Batch(NamedTuple):
    """Evaluation views `[B, *shape]`, the indices that they belong to, and what comes with them."""

    obs: Tensor
    indices: list[int]
    cond: Tokens | None = None


def batches(
    observations: Observations,
    indices: list[int],
    size: int,
    rng: Callable[[int], torch.Generator] | None = None,
) -> Iterator[Batch]:
    """The evaluation views of the observations at `indices`; those that cannot be read are left out.

    With `rng` it is the training views, each observation's with the generator that `rng` gives for its index.
    """
    for start in range(0, len(indices), size):
        views, kept = [], []
        for index in indices[start : start + size]:
            try:
                views.append(observations.observe(index, None if rng is None else rng(index)))
            except Unreadable:
                continue  # the caller sees by the indices which are missing
            kept.append(index)
        if kept:
            batch = stacked(views)
            assert isinstance(batch.obs, Tensor)
            yield Batch(batch.obs, kept, batch.cond)


class Embedded(NamedTuple):
    """Vectors `[N, D]` and the indices of the observations that they belong to."""

    x: Float[Tensor, "N D"]
    indices: list[int]


@torch.no_grad()
def embed(
    encoder: Encoder,
    observations: Observations,
    indices: list[int],
    batch_size: int,
    device: torch.device,
    autocast: Context = nullcontext,
) -> Embedded:
    """Mean-pooled representations of whole observations, in float32 on the CPU.

    Args:
        encoder: sees every token.
        observations: what to embed, in their evaluation views; those that cannot be read are left out.
        indices: which of them.
        batch_size: observations per forward pass.
        device: where the encoder is.
        autocast: makes the context to run in, for mixed precision.

    Raises:
        UserError: none of them can be read.

    Source: I-JEPA, appendix A.2 (average-pooled tokens of the target encoder).
    """

    def pooled(obs: Tensor) -> Tensor:
        with autocast():
            tokens: Tokens = encoder(obs.to(device))
            return tokens.x.float().mean(1).cpu()

    was_training = encoder.training
    encoder.eval()
    try:
        return _all(pooled, observations, indices, batch_size)
    finally:
        encoder.train(was_training)


def raw(observations: Observations, indices: list[int], batch_size: int) -> Embedded:
    """The observations themselves as vectors, averaged down along their last axes to at most `MOST_RAW` values.

    Raises:
        UserError: none of them can be read.
    """
    return _all(lambda obs: shrink(obs.float()).flatten(1), observations, indices, batch_size)


def _all(vectors: Callable[[Tensor], Tensor], observations: Observations, indices: list[int], size: int) -> Embedded:
    parts, kept = [], []
    for batch in batches(observations, indices, size):
        parts.append(vectors(batch.obs))
        kept += batch.indices
    if not parts:
        raise UserError(
            f"none of {len(indices)} samples for evaluation can be read, beginning with {observations.name(0)}"
        )
    return Embedded(torch.cat(parts), kept)


def shrink(batch: Float[Tensor, "B ..."]) -> Tensor:
    """Average neighbouring values of the last two axes until an observation has at most `MOST_RAW` of them."""
    while batch[0].numel() > MOST_RAW and batch.ndim >= 3 and min(batch.shape[-2:]) >= 2:
        batch = F.avg_pool2d(batch.flatten(0, -4) if batch.ndim > 4 else batch, 2).reshape(
            *batch.shape[:-2], batch.shape[-2] // 2, batch.shape[-1] // 2
        )
    return batch


def labelled(embedded: Embedded, observations: Observations, factor: str) -> Split:
    """Embeddings with the labels of one factor."""
    return Split(embedded.x, torch.from_numpy(observations.factors[factor].index[embedded.indices]).long())
