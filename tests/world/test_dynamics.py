"""Predictors of the future: teacher forcing, rollouts, histories, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from worldjepa.causal import CausalViT
from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.future import Future
from worldjepa.nn.actions import ActionSpec
from worldjepa.types import Grid, Tokens
from worldjepa.vectors import Recurrent, ResidualMLP

D, A, T = 5, 2, 9


def dynamics(kind: str, history: int = 1) -> Dynamics:
    torch.manual_seed(0)
    if kind == "mlp":
        return ResidualMLP(D, 16, 2, history, ActionSpec(A)).eval()
    if kind == "gru":
        return Recurrent(D, ActionSpec(A)).eval()
    return CausalViT(D, 12, 2, 2, history=history, init="xavier", actions=ActionSpec(A)).eval()


ALL = [("mlp", 1), ("mlp", 3), ("gru", 1), ("vit", 1), ("vit", 3), ("vit", 20)]


def world(n: int = 1) -> tuple[torch.Tensor, torch.Tensor, Tokens]:
    """Frames `[2, T, n, D]`, where their tokens stand `[n, 2]`, and actions."""
    rng = torch.Generator().manual_seed(1)
    frames = torch.randn(2, T, n, D, generator=rng)
    cond = Tokens(torch.randn(2, T - 1, A, generator=rng), Grid(T - 1).pos().expand(2, -1, -1))
    return frames, Grid(1, 1, n).pos()[:, 1:], cond


def seen(frames: torch.Tensor, which: range) -> Tokens:
    n = frames.shape[2]
    pos = Grid(T, 1, n).pos().view(T, n, 3)[which.start : which.stop].flatten(0, 1)
    return Tokens(frames[:, which.start : which.stop].flatten(1, 2)[:, None], pos.expand(2, 1, -1, -1))


def asked(frames: torch.Tensor, which: range) -> torch.Tensor:
    return seen(frames, which).pos


@pytest.mark.parametrize(
    ("kind", "history", "n"), [(*one, 1) for one in ALL] + [(*one, 3) for one in ALL if one[0] == "vit"]
)
def test_teacher_forcing_answers_each_frame_from_those_before_it(kind: str, history: int, n: int) -> None:
    model, (frames, pos, cond) = dynamics(kind, history), world(n)
    answer = model(seen(frames, range(T - 1)), asked(frames, range(1, T)), cond).x.view(2, T - 1, n, D)
    for time in range(1, T):
        first = max(0, time - history)
        expected = model.step(frames[:, first:time], pos, cond.x[:, first:time])
        assert torch.allclose(answer[:, time - 1], expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "history"), ALL)
def test_a_rollout_feeds_predictions_back(kind: str, history: int) -> None:
    model, (frames, pos, cond) = dynamics(kind, history), world()
    answer = model(seen(frames, range(2)), asked(frames, range(2, T)), cond).x[:, 0]  # [2, T-2, D]
    path = [frames[:, 0], frames[:, 1]]
    for time in range(2, T):
        first = max(0, time - history)
        path.append(model.step(torch.stack(path[first:time], 1), pos, cond.x[:, first:time]))
    assert torch.allclose(answer, torch.stack(path[2:], 1)[:, :, 0], atol=1e-5)


@pytest.mark.parametrize(("kind", "history"), ALL)
def test_rollouts_that_begin_elsewhere_meet_the_actions_of_their_time(kind: str, history: int) -> None:
    model, (frames, _, cond) = dynamics(kind, history), world()
    (masks,) = Future(1, 3, rollouts=3)(Grid(T), 2, torch.Generator())
    assert masks.context[0, :, 0].tolist() == [0, 2, 5]
    whole = Tokens(frames[:, :, 0], Grid(T).pos().expand(2, -1, -1))
    together = model(whole.select(masks.context), whole.select(masks.target).pos, cond).x
    for number, start in enumerate((0, 2, 5)):
        later = Tokens(cond.x[:, start:], cond.pos[:, : T - 1 - start])
        shifted = frames[:, start:]
        alone = model(seen(shifted, range(1)), asked(frames, range(1, 4)), later).x[:, 0]
        assert torch.allclose(together[:, number], alone, atol=1e-5)


def test_a_world_in_which_nobody_acts_needs_no_actions() -> None:
    frames, _, _ = world()
    for model in (ResidualMLP(D, 8), CausalViT(D, 12, 1, 2)):
        assert model(seen(frames, range(1)), asked(frames, range(1, T))).x.shape == (2, 1, T - 1, D)
    with pytest.raises(UserError, match="needs actions"):
        dynamics("mlp")(seen(frames, range(1)), asked(frames, range(1, T)))


def test_what_is_not_the_future_is_refused() -> None:
    model, (frames, _, cond) = dynamics("vit"), world(3)
    with pytest.raises(UserError, match="beginning of what it has seen"):
        model(seen(frames, range(2)), asked(frames, range(T)), cond)
    part = seen(frames, range(2))
    with pytest.raises(UserError, match="whole frames"):
        model(Tokens(part.x[:, :, :-1], part.pos[:, :, :-1]), asked(frames, range(2, 4)), cond)


def test_sizes_are_checked() -> None:
    with pytest.raises(UserError, match="does not divide among"):
        CausalViT(D, 10, 1, 4)
    with pytest.raises(UserError, match="history must be at least 1"):
        ResidualMLP(D, 8, history=0)
    with pytest.raises(UserError, match="do not fit into windows of 5 frames"):
        Future(3, 3)(Grid(5), 1, torch.Generator())
    with pytest.raises(UserError, match="at most 2 can"):
        Future(1, 3, rollouts=3)(Grid(5), 1, torch.Generator())


def test_teacher_forcing_is_a_mask_of_its_own() -> None:
    rollout, teacher = Future(2, teacher=True)(Grid(5, 1, 2), 3, torch.Generator())
    assert rollout.context[0, 0].tolist() == [0, 1, 2, 3]
    assert rollout.target[0, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert teacher.context[2, 0].tolist() == list(range(8))
    assert teacher.target[2, 0].tolist() == list(range(2, 10))
