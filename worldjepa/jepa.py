"""A joint-embedding predictive architecture is the composition of four parts and an objective, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from worldjepa.interfaces import Encoder, Objective, Predictor, TargetEncoder
from worldjepa.types import Batch


@final
class JEPA(nn.Module):
    """Encode what is seen, predict what was asked, compare with the answers.

    Args:
        encoder: encodes the contexts.
        predictor: predicts the representations at the target positions.
        target: gives the answers.
        objective: compares the two.
    """

    def __init__(self, encoder: Encoder, predictor: Predictor, target: TargetEncoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.target = target
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective's named terms, each the mean over masks and members; the loss is their sum."""
        answers = self.target(batch.obs, batch.masks)
        terms = []
        for number, (masks, answer) in enumerate(zip(batch.masks, answers, strict=True)):
            context = self.encoder(batch.obs, keep=masks.context)  # [B, C, K, D]
            for member in self.predictor.members():
                pred = member(context, answer.pos, batch.cond, number)  # [B, M, Q, D]
                terms.append(self.objective(pred, answer, context, batch.cond))
        return mean_terms(terms)


def mean_terms(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average dictionaries of terms name by name; all must have the same names."""
    names = terms[0].keys()
    if any(other.keys() != names for other in terms):
        raise ValueError(f"the objective gave different terms for different masks: {[sorted(t) for t in terms]}")
    return {name: torch.stack([term[name] for term in terms]).mean(0) for name in names}
