"""Operations are counted as one counts them by hand."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contender import Size
from benchmarks.efficient.frozen import composed
from benchmarks.flops import count
from worldjepa.evaluate.arithmetic import Arithmetic, count_step, mean
from worldjepa.evaluate.counter import counted
from worldjepa.jepa import JEPA
from worldjepa.train.build import build_model, build_sampler
from worldjepa.types import Batch, Masks

N, PIECE, D, P = 64, 192, 24, 16
"""Tokens, values under each, widths of encoder and predictor, at 64 pixels, patch 8 and 3 channels; two blocks each."""
K, M, Q = 20, 3, 7
TOY = ["data=patterns", "data.channels=3", f"arch.dim={D}", "arch.encoder.depth=2", "arch.encoder.heads=2"]
TOY += [f"arch.predictor.dim={P}", "arch.predictor.heads=2"]


def linear(rows: int, into: int, out: int) -> int:
    return 2 * rows * into * out


def block(width: int, tokens: int, asked: int | None = None) -> int:
    """Keys and values of all tokens, everything else of those that are asked for."""
    asked = tokens if asked is None else asked
    attention = 2 * linear(asked, width, tokens)  # scores, and the mean that they weigh
    return (
        2 * linear(tokens, width, width)
        + 2 * linear(asked, width, width)
        + attention
        + 2 * linear(asked, width, 4 * width)
    )


def counts(method: str, masks: list[Masks]) -> Arithmetic:
    model = build_model(composed([*TOY, f"method={method}"]), 10)
    return count_step(model, Batch(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), masks))


def some(sets: int, context: int, target: int) -> Masks:
    both = torch.stack([torch.randperm(N)[: context + target] for _ in range(2)])
    return Masks(both[:, None, :context], both[:, None, context:].expand(-1, sets, -1))


def test_ijepa_by_hand() -> None:
    found = counts("ijepa", [some(M, K, Q)])
    student = linear(K, PIECE, D) + 2 * block(D, K)
    predictor = linear(K, D, P) + M * (block(P, K + Q) + block(P, K + Q, Q) + linear(Q, P, D))
    assert found.student == 2 * student
    assert found.teacher == 2 * (linear(N, PIECE, D) + 2 * block(D, N))  # 64 keys: through the fused kernel's formula
    assert found.predictor == 2 * predictor
    # Each product has two gradients; no gradient goes on to the pixels, and none through the teacher.
    assert found.student_backward == 2 * (2 * student - linear(K, PIECE, D))
    assert found.predictor_backward == 2 * 2 * predictor
    assert (found.teacher_backward, found.objective, found.objective_backward) == (0, 0, 0)
    told = count(Size(64, 8, D, 2, 2, P, 2, 2), K, M, Q)
    assert (found.student, found.teacher, found.predictor) == (2 * told.context, 2 * told.target, 2 * told.predictor)


def test_mae_by_hand() -> None:
    found = counts("mae", [some(1, 16, 48)])
    student = linear(16, PIECE, D) + 2 * block(D, 16)
    predictor = linear(16, D, P) + block(P, N) + block(P, N, 48) + linear(48, P, PIECE)
    assert found.of("student") == 2 * (3 * student - linear(16, PIECE, D))
    assert found.of("predictor") == 2 * 3 * predictor
    assert found.of("teacher") == found.of("objective") == 0


@pytest.mark.parametrize("method", ["ijepa", "data2vec2", "ibot", "lejepa"])
def test_the_parts_are_the_whole(method: str) -> None:
    """Counted in one piece, forward and backward, a step has as many operations as its parts."""
    config = composed([*TOY, f"method={method}"])
    model: JEPA = build_model(config, 10)
    views = model.views
    obs = torch.zeros(2, *([views] if views > 1 else []), 3, 64, 64, dtype=torch.uint8)
    drawn = build_sampler(config)(model.encoder.grid((3, 64, 64)), 2 * views, torch.Generator().manual_seed(0))
    masks = [Masks(*(sets.reshape(2, -1, sets.shape[-1]) for sets in mask)) for mask in drawn]
    batch = Batch(obs, masks)
    parts = count_step(model, batch)
    terms, forward = counted(model, batch)
    backward = counted(torch.stack(list(terms.values())).sum().backward)[1]
    assert forward == parts.student + parts.teacher + parts.predictor + parts.objective
    assert backward == parts.student_backward + parts.predictor_backward + parts.objective_backward


def test_the_mean_of_steps() -> None:
    assert mean([Arithmetic(student=2, teacher=4), Arithmetic(student=4)]) == Arithmetic(student=3, teacher=2)
