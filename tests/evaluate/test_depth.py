"""Depth: every head of the one pass is the head trained alone, and the errors are those that the papers define."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from worldjepa.errors import UserError
from worldjepa.evaluate.dense import DenseProtocol, learn
from worldjepa.evaluate.depth import BINS, DepthSplit, _loss, compared, depths, estimate
from worldjepa.evaluate.linear import initial, shuffled
from worldjepa.evaluate.sweep import Head, grid, pace

LATTICE = (3, 4)
FARTHEST = 10.0


def scenes(n: int, seed: int) -> DepthSplit:
    """Tokens that say, in noise, how far their 8 x 8 pixels are; of a column nothing is known."""
    rng = torch.Generator().manual_seed(seed)
    near = 1 + 8 * torch.rand(n, *LATTICE, generator=rng)
    direction = torch.randn(5, generator=torch.Generator().manual_seed(9))
    x = (near[..., None] - 5) * direction + 0.3 * torch.randn(n, *LATTICE, 5, generator=rng)
    metres = near.repeat_interleave(8, 1).repeat_interleave(8, 2)
    metres[:, :, 3] = 0
    return DepthSplit(x.flatten(1, 2), metres)


TRAIN, VAL, TEST = scenes(40, 0), scenes(20, 1), scenes(20, 2)
PROTOCOL = DenseProtocol(grid((1e-5, 0.03), (0.0, 0.1)), epochs=2, batch=8)


def written_out(said: torch.Tensor, actual: torch.Tensor) -> torch.Tensor:
    """The loss of one head, `[B, C, h, w]`, as the papers put it."""
    dense = F.interpolate(said, size=(4 * said.shape[2], 4 * said.shape[3]), mode="bilinear")
    weight = F.relu(dense) + 0.1
    weight = weight / weight.sum(1, keepdim=True)
    bins = torch.linspace(1e-3, FARTHEST, BINS, dtype=said.dtype)
    metres = F.interpolate((weight * bins[:, None, None]).sum(1, keepdim=True), size=actual.shape[1:], mode="bilinear")
    known = actual > 0
    g = metres[:, 0][known].log() - actual[known].log()
    return (g.square().mean() - 0.85 * g.mean() ** 2 + 1e-6).sqrt()


def test_each_head_is_the_head_trained_alone() -> None:
    x, metres = TRAIN.x.double(), TRAIN.depth.double()
    fitted = learn(
        x, metres, LATTICE, BINS, lambda said, actual: _loss(said, actual, FARTHEST), PROTOCOL, dtype=torch.float64
    )
    for place, head in enumerate(PROTOCOL.heads):
        model = nn.Sequential(nn.BatchNorm2d(5, affine=False, momentum=None), nn.Conv2d(5, BINS, 1)).double()
        model[1].weight.data, model[1].bias.data = (
            initial(BINS, 5, 0).double()[..., None, None],
            torch.zeros(BINS).double(),
        )
        optimizer = torch.optim.AdamW(
            [{"params": model[1].weight, "weight_decay": head.decay}, {"params": model[1].bias, "weight_decay": 0}]
        )
        for step in range(10):
            for group in optimizer.param_groups:
                group["lr"] = head.lr * pace(step, 10, 5)
            rows = shuffled(40, 0, step // 5)[8 * (step % 5) : 8 * (step % 5 + 1)]
            optimizer.zero_grad()
            written_out(model(x[rows].transpose(1, 2).unflatten(2, LATTICE)), metres[rows]).backward()
            optimizer.step()
        torch.testing.assert_close(fitted.weight[place], model[1].weight.detach()[..., 0, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(fitted.bias[place], model[1].bias.detach(), atol=1e-5, rtol=0)


def test_it_learns_depths_and_chooses_on_validation_data() -> None:
    found = estimate(TRAIN, VAL, TEST, LATTICE, FARTHEST, PROTOCOL._replace(epochs=4))
    assert found.chosen["lr"] == 0.03
    mean = float(TRAIN.depth[TRAIN.depth > 0].mean())
    blind = float(compared(torch.full_like(TEST.depth, mean), TEST.depth).rmse.mean())
    assert found.scores["rmse"] < 0.6 * blind
    assert found.scores["rmse"] == pytest.approx(float(found.errors.rmse.mean()))
    assert found.errors.rmse.shape == (20,)
    # A validation split that lies as far as the idle head says chooses it.
    idle = PROTOCOL._replace(heads=(Head(1e-9, 0.0), Head(0.03, 0.0)), epochs=3)
    told = DepthSplit(VAL.x, torch.where(VAL.depth > 0, 5.0, 0.0))
    assert estimate(TRAIN, told, TEST, LATTICE, FARTHEST, idle).chosen["lr"] == 1e-9


def test_errors_are_those_of_the_pixels_that_are_known() -> None:
    rng = np.random.default_rng(0)
    actual, said = rng.uniform(0.5, 9, (2, 3, 6, 7))
    actual[0, :2], actual[2, :, 4:] = 0, 0
    found = compared(torch.tensor(said), torch.tensor(actual))
    for i in range(3):
        known = actual[i] > 0
        a, s = actual[i][known], said[i][known]
        assert float(found.rmse[i]) == pytest.approx(np.sqrt(np.mean((a - s) ** 2)))
        assert float(found.abs_rel[i]) == pytest.approx(np.mean(np.abs(a - s) / a))
        assert float(found.delta1[i]) == pytest.approx(100 * np.mean(np.maximum(a / s, s / a) < 1.25))


def test_a_bin_that_shouts_is_believed() -> None:
    said = torch.full((1, 1, 100, 2, 2), -1.0)
    said[:, :, 60] = 1e6
    bins = torch.linspace(1e-3, 7.0, 100)
    torch.testing.assert_close(depths(said, 7.0, (5, 6)), bins[60].expand(1, 1, 5, 6), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (TRAIN._replace(x=TRAIN.x[:, :10]), "10 tokens do not fill a lattice of 3 rows and 4 columns"),
        (TRAIN._replace(depth=3 * TRAIN.depth), "depths run from 0 to 26.* m: they must be 0 to 10"),
        (TRAIN._replace(depth=-TRAIN.depth), "they must be 0 to 10, 0 where not known"),
        (TRAIN._replace(depth=0 * TRAIN.depth), "40 of 40 images have no depth that is known"),
        (DepthSplit(TRAIN.x[:0], TRAIN.depth[:0]), "a probe of pixels needs images in each split"),
    ],
)
def test_what_cannot_be_learned_is_said(split: DepthSplit, message: str) -> None:
    with pytest.raises(UserError, match=message):
        estimate(split, VAL, TEST, LATTICE, FARTHEST, PROTOCOL)
