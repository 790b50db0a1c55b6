"""The predictor against the published order of work, written out."""

from __future__ import annotations

import pytest
import torch

from worldjepa.predictors import MaskTokenViT
from worldjepa.types import Grid, Tokens

from .reference import predict

B, K, Q, D, DEPTH, HEADS = 3, 7, 4, 10, 3, 3
GRID = (4, 5)


@pytest.fixture
def predictor() -> MaskTokenViT:
    torch.manual_seed(0)
    made = MaskTokenViT(D, dim=12, depth=DEPTH, heads=HEADS).double()
    for parameter in made.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    return made


def index_sets(count: int, length: int, seed: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    sets = [torch.stack([torch.randperm(20, generator=rng)[:length] for _ in range(B)]) for _ in range(count)]
    return [part.sort(-1).values for part in sets]


def places(sets: list[torch.Tensor]) -> torch.Tensor:
    """[B, sets, tokens, 3]"""
    return Grid(1, *GRID).pos()[torch.stack(sets, 1)]


@pytest.mark.parametrize(("contexts", "targets"), [(1, 1), (1, 4), (3, 3)])
def test_equals_the_published_order_of_work(predictor: MaskTokenViT, contexts: int, targets: int) -> None:
    seen, asked = index_sets(contexts, K, 1), index_sets(targets, Q, 2)
    z = torch.randn(contexts * B, K, D, dtype=torch.float64)  # context slowest, as published
    theirs = predict(z, dict(predictor.state_dict()), GRID, HEADS, DEPTH, seen, asked)
    theirs = theirs.view(targets, contexts, B, Q, D)
    ours = predictor(Tokens(z.view(contexts, B, K, D).transpose(0, 1), places(seen)), places(asked)).x  # [B, M, Q, D]
    for target in range(targets):
        # With a context for each target, ours answers the pairs; the published code answers all combinations.
        context = target if contexts > 1 else 0
        torch.testing.assert_close(ours[:, target], theirs[target, context], rtol=1e-5, atol=1e-6)


def test_the_last_block_answers_only_what_is_asked(predictor: MaskTokenViT) -> None:
    x = torch.randn(B, K + Q, 12, dtype=torch.float64, requires_grad=True)
    pruned = predictor.predictor_blocks(x, queries=Q)
    whole = predictor.predictor_blocks(x)[:, -Q:]
    torch.testing.assert_close(pruned, whole, rtol=1e-10, atol=1e-10)
    weights = [x, *predictor.predictor_blocks.parameters()]
    ours = torch.autograd.grad(pruned.square().sum(), weights)
    theirs = torch.autograd.grad(whole.square().sum(), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_recomputed_activations_give_the_same_gradients(predictor: MaskTokenViT) -> None:
    x = torch.randn(B, K + Q, 12, dtype=torch.float64)
    weights = list(predictor.predictor_blocks.parameters())
    plain = torch.autograd.grad(predictor.predictor_blocks(x, queries=Q).square().sum(), weights)
    predictor.predictor_blocks.checkpointing = True
    again = torch.autograd.grad(predictor.predictor_blocks(x, queries=Q).square().sum(), weights)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_depth_zero_still_answers() -> None:
    predictor = MaskTokenViT(D, dim=12, depth=0, heads=3)
    context = Tokens(torch.randn(2, 1, K, D), torch.zeros(2, 1, K, 3))
    assert predictor(context, torch.zeros(2, 2, Q, 3)).x.shape == (2, 2, Q, D)


def test_conditions_are_refused() -> None:
    predictor = MaskTokenViT(D, dim=12, depth=1, heads=3)
    context = Tokens(torch.randn(2, 1, K, D), torch.zeros(2, 1, K, 3))
    with pytest.raises(ValueError, match="no condition"):
        predictor(context, torch.zeros(2, 2, Q, 3), context)
