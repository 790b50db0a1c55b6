"""Training a decoder on what a frozen model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import batches
from worldjepa.evaluate.sweep import pace
from worldjepa.imagine.decoders import Decoder, averaged
from worldjepa.imagine.subject import Scenes, Subject
from worldjepa.targets import follow

AT_A_TIME = 64
"""Observations that the model is asked about together."""


class Lesson(NamedTuple):
    """How long a decoder is trained, and how; AdamW, up a line and down half a cosine."""

    steps: int = 1600
    batch: int = 16
    lr: float = 2e-3
    warmup: float = 0.05
    """Share of the steps."""
    ema: float = 0.995
    """Momentum of the average of the weights, which is what is kept; less at the beginning."""


def gather(
    subject: Subject,
    observations: Observations,
    indices: list[int],
    seed: int,
    device: torch.device,
    tell: Callable[[int], object] = lambda done: None,
) -> tuple[Scenes, list[int]]:
    """Ask a model about observations, in their evaluation views; what cannot be read is left out.

    An index may stand more than once: every time another part of the observation is asked for.

    Args:
        subject: asks.
        observations: what about.
        indices: which of them.
        seed: decides what is asked.
        device: where the model is.
        tell: is told how many are done.

    Returns:
        The scenes, on the CPU, and the indices that they belong to.

    Raises:
        UserError: nothing can be read.
    """
    rng = torch.Generator().manual_seed(seed)
    parts, kept = [], list[int]()
    for batch in batches(observations, indices, AT_A_TIME):
        cond = None if batch.cond is None else type(batch.cond)(*(part.to(device) for part in batch.cond))
        scenes = subject.scenes(batch.obs.to(device), cond, rng)
        parts.append(Scenes(*(part.cpu() for part in scenes)))
        kept += batch.indices
        tell(len(kept))
    if not parts:
        raise UserError(f"none of {len(indices)} observations can be read, beginning with {observations.name(0)}")
    return Scenes(*(torch.cat(some) for some in zip(*parts, strict=True))), kept


def teach(
    decoder: Decoder,
    scenes: Scenes,
    of: str,
    lesson: Lesson,
    seed: int,
    device: torch.device,
    tell: Callable[[int, float], object] = lambda step, loss: None,
) -> Decoder:
    """Train a decoder and return the average of its weights; the decoder itself is trained in place.

    Args:
        decoder: untrained.
        scenes: what it learns from.
        of: decode the `predicted` tokens or the `target`'s.
        lesson: how long.
        seed: of order and noise.
        device: where.
        tell: is told the number of steps taken and the loss.

    Raises:
        UserError: the numbers leave nothing to do.
    """
    if min(lesson.steps, lesson.batch) < 1:
        raise UserError(f"steps and batch must be at least 1: steps={lesson.steps}, batch={lesson.batch}")
    rng = torch.Generator().manual_seed(seed)
    decoder.fit(scenes.picture, scenes.condition(of))
    decoder.to(device).train()
    kept = averaged(decoder)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=lesson.lr, weight_decay=0.01, betas=(0.9, 0.99))
    order = torch.zeros(0, dtype=torch.long)
    for step in range(lesson.steps):
        while len(order) < lesson.batch:
            order = torch.cat([order, torch.randperm(len(scenes.picture), generator=rng)])
        rows, order = order[: lesson.batch], order[lesson.batch :]
        for group in optimizer.param_groups:
            group["lr"] = lesson.lr * pace(step, lesson.steps, max(1, round(lesson.warmup * lesson.steps)))
        loss = _step(decoder, optimizer, scenes.pick(rows), of, rng, device)
        follow(kept, decoder, min(lesson.ema, (1 + step) / (10 + step)))
        tell(step + 1, loss)
    return kept


def _step(
    decoder: Decoder,
    optimizer: torch.optim.Optimizer,
    scenes: Scenes,
    of: str,
    rng: torch.Generator,
    device: torch.device,
) -> float:
    condition = scenes.condition(of)
    here = type(condition)(*(part.to(device) for part in condition))
    loss: Tensor = decoder.loss(scenes.picture.to(device), here, rng)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())
