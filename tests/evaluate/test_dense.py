"""Segmentation: every head of the one pass is the head trained alone, and the overlaps are scikit-learn's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score
from torch import nn

from worldjepa.errors import UserError
from worldjepa.evaluate.dense import DenseProtocol, DenseSplit, fit, miou, overlap, segment
from worldjepa.evaluate.linear import initial, shuffled
from worldjepa.evaluate.sweep import Head, grid, pace

LATTICE = (3, 4)


def scenes(n: int, seed: int) -> DenseSplit:
    """Tokens that say, in noise, which of three classes their 4 x 4 pixels have; the border is ignored."""
    rng = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (n, *LATTICE), generator=rng)
    x = 3 * F.one_hot(classes, 5).float().flatten(1, 2) + torch.randn(n, 12, 5, generator=rng)
    masks = classes.repeat_interleave(4, 1).repeat_interleave(4, 2)
    masks[:, 0], masks[:, :, 0] = 255, 255
    return DenseSplit(x, masks)


TRAIN, VAL, TEST = scenes(40, 0), scenes(20, 1), scenes(20, 2)
PROTOCOL = DenseProtocol(grid((1e-5, 0.03), (0.0, 0.1)), epochs=4, batch=8)


def test_each_head_is_the_head_trained_alone() -> None:
    fitted = fit(TRAIN, LATTICE, 3, PROTOCOL, dtype=torch.float64)
    for place, head in enumerate(PROTOCOL.heads):
        model = nn.Sequential(nn.BatchNorm2d(5, affine=False, momentum=None), nn.Conv2d(5, 3, 1)).double()
        model[1].weight.data, model[1].bias.data = initial(3, 5, 0).double()[..., None, None], torch.zeros(3).double()
        optimizer = torch.optim.AdamW(
            [{"params": model[1].weight, "weight_decay": head.decay}, {"params": model[1].bias, "weight_decay": 0}]
        )
        for step in range(20):
            for group in optimizer.param_groups:
                group["lr"] = head.lr * pace(step, 20, 5)
            rows = shuffled(40, 0, step // 5)[8 * (step % 5) : 8 * (step % 5 + 1)]
            maps = TRAIN.x[rows].double().transpose(1, 2).unflatten(2, LATTICE)
            said = F.interpolate(model(maps), size=(12, 16), mode="bilinear")
            optimizer.zero_grad()
            F.cross_entropy(said, TRAIN.masks[rows], ignore_index=255).backward()
            optimizer.step()
        torch.testing.assert_close(fitted.weight[place], model[1].weight.detach()[..., 0, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(fitted.bias[place], model[1].bias.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(fitted.mean, model[0].running_mean)


def test_it_finds_the_classes_and_chooses_on_validation_data() -> None:
    found = segment(TRAIN, VAL, TEST, LATTICE, 3, PROTOCOL._replace(epochs=8))
    assert found.chosen["lr"] == 0.03
    assert found.scores["miou"] > 70
    assert found.scores["pixels"] > 80
    assert found.intersection.shape == found.union.shape == (20, 3)
    assert miou(found.intersection, found.union) == found.scores["miou"]
    # A validation split that says what the idle head says chooses it.
    idle = PROTOCOL._replace(heads=(Head(1e-5, 0.0), Head(0.03, 0.0)))
    turned = DenseSplit(VAL.x, torch.where(VAL.masks == 255, 255, (VAL.masks + 1) % 3))
    asked = segment(TRAIN, turned, TEST, LATTICE, 3, idle)
    assert asked.chosen["lr"] == 1e-5
    assert asked.scores["miou"] < found.scores["miou"] - 20


def test_overlaps_are_those_of_scikit_learn() -> None:
    rng = torch.Generator().manual_seed(0)
    predicted, actual = torch.randint(4, (2, 6, 9, 9), generator=rng)
    actual[torch.rand(actual.shape, generator=rng) < 0.2] = 255
    pairs = [overlap(p, a, 5) for p, a in zip(predicted, actual, strict=True)]
    intersection, union = (torch.stack(part) for part in zip(*pairs, strict=True))
    counts = actual != 255
    theirs = jaccard_score(actual[counts].numpy(), predicted[counts].numpy(), average="macro")
    assert miou(intersection, union) == pytest.approx(100 * theirs)  # class 4 occurs nowhere, and does not count
    assert int((intersection.sum() + union.sum()) / 2) == int(counts.sum())


def test_by_hand() -> None:
    predicted = torch.tensor([[0, 0, 1], [1, 1, 1]])
    actual = torch.tensor([[0, 1, 1], [1, 255, 0]])
    both, either = overlap(predicted, actual, 2)
    assert (both.tolist(), either.tolist()) == ([1, 2], [3, 4])
    assert miou(both[None], either[None]) == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)
    assert miou(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64)) == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="12 tokens do not fill a lattice of 3 rows and 3 columns"):
        segment(TRAIN, VAL, TEST, (3, 3), 3)
    with pytest.raises(UserError, match="labels run from 0 to 2: with 2 classes they are 0 to 1, or 255"):
        segment(TRAIN, VAL, TEST, LATTICE, 2)
