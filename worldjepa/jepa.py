"""A joint-embedding predictive architecture is the composition of four parts and an objective, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder
from worldjepa.objectives import check_views
from worldjepa.types import Batch, Grid, Masks, Tokens


class Above(nn.Module, ABC):
    """What learns from the representations of a JEPA: the levels of a hierarchy."""

    detach: bool
    """Whether it teaches nothing below; it then looks at what the encoder will be once training is over."""
    alone: bool
    """Whether nothing else learns: the JEPA stays as it is, and its own terms are left out."""

    @abstractmethod
    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted terms that are added to the loss; their names are none of the JEPA's own."""

    @abstractmethod
    def check(self, grid: Grid) -> None:
        """Raise `UserError` where observations on this lattice are too short for it."""

    @abstractmethod
    def update(self, step: int) -> None:
        """Let averages follow what they are averages of, after optimiser step `step` (0-based)."""


@final
class JEPA(nn.Module):
    """Encode what is seen, predict what was asked, compare with the answers.

    Args:
        encoder: encodes the contexts.
        predictor: predicts the representations at the target positions.
        target: gives the answers.
        objective: compares the two.
        above: what learns from its representations besides.
        views: how many views of each observation a batch holds, side by side: `[B, V, ...]` where there are several. Each is
            encoded, asked and answered as a sample of its own; the objective sees them as sets of one sample.

    Raises:
        UserError: the objective compares more views.
    """

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor,
        target: TargetEncoder,
        objective: Objective,
        above: Above | None = None,
        views: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.target = target
        self.objective = objective
        self.above = above
        self.views = views
        if self.alone:
            for part in (encoder, predictor, target, objective):
                part.requires_grad_(False)
        else:
            check_views(objective, views)

    @property
    def alone(self) -> bool:
        """Whether nothing learns but what is above."""
        return self.above is not None and self.above.alone

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective's named terms, each the mean over masks and members; the loss is their sum."""
        terms: dict[str, Tensor] = {}
        if not self.alone:
            terms = compare(self.encoder, self.predictor, self.target, self.objective, batch, self.views)
        if self.above is not None:
            seen = self.target.released(self.encoder) if self.above.detach else self.encoder
            terms |= self.above(seen, batch)
        return terms

    def update(self, step: int) -> dict[str, float]:
        """Let the target encoder follow after optimiser step `step` (0-based); returns numbers worth logging."""
        moved: dict[str, float] = {} if self.alone else self.target.update(self.encoder, step)
        if self.above is not None:
            self.above.update(step)
        return moved


def compare(
    encoder: Encoder,
    predictor: Predictor,
    target: TargetEncoder,
    objective: Objective,
    batch: Batch,
    views: int = 1,
) -> dict[str, Tensor]:
    """The objective's named terms, each the mean over the batch's masks and the predictor's members."""
    batch = apart(batch, views)
    answers = target(batch.obs, batch.masks)
    terms = []
    for number, (masks, answer) in enumerate(zip(batch.masks, answers, strict=True)):
        context = encoder(batch.obs, keep=masks.context)  # [B, C, K, D]
        for member in predictor.members():
            pred = member(context, answer.pos, batch.cond, number)  # [B, M, Q, D]
            seen = (together(tokens, views) for tokens in (pred, answer, context))
            terms.append(objective(*seen, batch.cond))
    return mean_terms(terms)


def per_view(sampler: MaskSampler, grid: Grid, batch: int, views: int, rng: torch.Generator) -> list[Masks]:
    """Masks for every view of every sample, those of one sample side by side: sets `[B, V*S, K]`, as `apart` takes them."""
    drawn = sampler(grid, batch * views, rng)
    if views == 1:
        return drawn
    return [Masks(*(sets.reshape(batch, -1, sets.shape[-1]) for sets in masks)) for masks in drawn]


def apart(batch: Batch, views: int) -> Batch:
    """Views as samples: obs `[B, V, ...]` become `[B*V, ...]`, sets `[B, V*S, K]` become `[B*V, S, K]`.

    Raises:
        UserError: the observations come with a condition, of which there is one for all views.
    """
    if views == 1:
        return batch
    if batch.cond is not None or isinstance(batch.obs, Tokens):
        raise UserError("several views are for observations alone, without actions: choose views=none")
    masks = [Masks(*(sets.reshape(len(sets) * views, -1, sets.shape[-1]) for sets in mask)) for mask in batch.masks]
    return Batch(batch.obs.flatten(0, 1), masks)


def together(tokens: Tokens, views: int) -> Tokens:
    """Views as sets of one sample: `[B*V, S, K, D]` becomes `[B, V*S, K, D]`."""
    if views == 1:
        return tokens
    sets = len(tokens.x) // views, views * tokens.x.shape[1]
    return Tokens(*(part.reshape(*sets, *part.shape[2:]) for part in tokens))


def mean_terms(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average dictionaries of terms name by name; all must have the same names."""
    names = terms[0].keys()
    if any(other.keys() != names for other in terms):
        raise ValueError(f"the objective gave different terms for different masks: {[sorted(t) for t in terms]}")
    return {name: torch.stack([term[name] for term in terms]).mean(0) for name in names}
