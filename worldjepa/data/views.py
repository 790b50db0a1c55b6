"""What one look at a sample gives: an observation, and with some data what its prediction is conditioned on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from worldjepa.types import Batch, Tokens


class Conditioned(NamedTuple):
    """An observation with its actions, or whatever else is known of what happens in it.

    `cond` has x `[A, W]` and pos `[A, 3]`: the vector that acts, and on which place of the observation's lattice.
    """

    obs: Tensor
    cond: Tokens


View = Tensor | Conditioned
"""What `Observations.observe` returns."""


class Views(ABC):
    """What training sees of an observation: how many views of it, and how they are made. A modality has classes of its own.

    A data source that can make several takes them as `views`, and shows `count` of them side by side, `[V, *shape]`.
    """

    count: int
    """How many, V."""


@final
class Single(Views):
    """One view of each observation, as the data source makes it."""

    count = 1


def stacked(views: Sequence[View]) -> Batch:
    """The views of several samples as a batch that has no masks yet."""
    plain = [view.obs if isinstance(view, Conditioned) else view for view in views]
    conds = [view.cond for view in views if isinstance(view, Conditioned)]
    if not conds:
        return Batch(torch.stack(plain), [])
    return Batch(torch.stack(plain), [], Tokens(*(torch.stack(part) for part in zip(*conds, strict=True))))


def rows(batch: Batch, which: slice) -> Batch:
    """Some samples of a batch that has no masks yet."""
    assert isinstance(batch.obs, Tensor)
    cond = None if batch.cond is None else Tokens(batch.cond.x[which], batch.cond.pos[which])
    return Batch(batch.obs[which], [], cond)


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches that have no masks yet, one after another."""
    obs = torch.cat([part.obs for part in parts if isinstance(part.obs, Tensor)])
    conds = [part.cond for part in parts if part.cond is not None]
    return Batch(obs, [], Tokens(*(torch.cat(part) for part in zip(*conds, strict=True))) if conds else None)
