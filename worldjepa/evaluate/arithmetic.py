"""Arithmetic of a training step, counted while it runs: two for each multiplication with its addition.

Each part is counted by itself, forward and backward: the student, the teacher, the predictor and the objective. What is done
element by element (norms, activations, the optimiser, the moving average) is left out, as usual.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.data.views import stacked
from worldjepa.evaluate.counter import counted
from worldjepa.interfaces import MaskSampler
from worldjepa.jepa import JEPA, apart, per_view, together
from worldjepa.types import Batch, Masks, Tokens


class Arithmetic(NamedTuple):
    """Operations of one step, of the whole batch; a part that is not there takes none."""

    student: float = 0.0
    teacher: float = 0.0
    predictor: float = 0.0
    objective: float = 0.0
    student_backward: float = 0.0
    teacher_backward: float = 0.0
    predictor_backward: float = 0.0
    objective_backward: float = 0.0

    @property
    def total(self) -> float:
        """Of everything."""
        return sum(self)

    def of(self, part: str) -> float:
        """Of a part, forward and backward."""
        return float(getattr(self, part) + getattr(self, f"{part}_backward"))


def count_step(model: JEPA, batch: Batch) -> Arithmetic:
    """The operations of a step on this batch. Gradients and counters of the model are not what they were after it."""
    batch = apart(batch, model.views)
    found = dict.fromkeys(Arithmetic._fields, 0.0)
    answers, found["teacher"] = counted(model.target, batch.obs, batch.masks)
    for number, (mask, answer) in enumerate(zip(batch.masks, answers, strict=True)):
        context, spent = counted(model.encoder, batch.obs, keep=mask.context)
        found["student"] += spent
        found["student_backward"] += backward(context.x)
        found["teacher_backward"] += backward(answer.x)
        seen, truth = leaf(context), leaf(answer)
        for member in model.predictor.members():
            pred, spent = counted(member, seen, truth.pos, batch.cond, number)
            found["predictor"] += spent
            found["predictor_backward"] += backward(pred.x)
            three = [together(tokens, model.views) for tokens in (leaf(pred), truth, seen)]
            terms, spent = counted(model.objective, *three, batch.cond)
            found["objective"] += spent
            found["objective_backward"] += backward(torch.stack(list(terms.values())))
    return Arithmetic(**found)


def per_sample(model: JEPA, sampler: MaskSampler, observations: Observations, batch: int, draws: int = 8) -> Arithmetic:
    """The operations of a training step for one sample, the mean of several draws of masks over the whole of a curriculum.

    Masks are drawn for the whole batch, for their lengths depend on it, and two of its samples are counted.

    Args:
        model: its gradients and counters are not what they were.
        sampler: of its masks.
        observations: what it learns from.
        batch: samples of a step, as one process draws masks for.
        draws: of masks.
    """
    grid = model.encoder.grid(observations.shape)
    obs, _, cond = stacked([observations.observe(row, generator(row)) for row in range(2)])
    steps = []
    for draw in range(draws):
        drawn = per_view(sampler.at(draw / draws), grid, max(2, batch), model.views, generator(draw))
        steps.append(count_step(model, Batch(obs, [Masks(*(sets[:2] for sets in mask)) for mask in drawn], cond)))
    return Arithmetic(*(value / 2 for value in mean(steps)))


def generator(number: int) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(number)


def leaf(tokens: Tokens) -> Tokens:
    """The same tokens with nothing behind them; a gradient ends here where it would have gone on."""
    return Tokens(tokens.x.detach().requires_grad_(tokens.x.requires_grad), tokens.pos)


def backward(made: Tensor) -> float:
    """The operations of a gradient from here; none where none is asked for."""
    if not made.requires_grad:
        return 0.0
    return counted(made.sum().backward)[1]


def mean(steps: list[Arithmetic]) -> Arithmetic:
    """The mean of several steps, whose masks differ."""
    return Arithmetic(*(sum(values) / len(steps) for values in zip(*steps, strict=True)))
