"""The linear probe: every head of the one pass is the head trained alone by PyTorch's own optimiser."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluate.cases import clusters, relabelled
from worldjepa.errors import UserError
from worldjepa.evaluate.linear import BATCH_NORM_EPS, PROTOCOLS, Protocol, fit, initial, linear, shuffled
from worldjepa.evaluate.results import Split, best, best_of
from worldjepa.evaluate.sweep import SGD, Head, drops, grid, pace

TRAIN, VAL, TEST = clusters(200), clusters(100, seed=1), clusters(100, seed=2)
SMALL = Protocol(grid((0.05, 1.0, 8.0), (0.0, 0.02)), epochs=6, batch=32, warmup=1, normed=(False, True))


def alone(head: Head, normed: bool, protocol: Protocol, seed: int = 0) -> nn.Sequential:
    """One head in the plainest way."""
    norm = nn.BatchNorm1d(6, BATCH_NORM_EPS, affine=False, momentum=None) if normed else nn.Identity()
    model = nn.Sequential(norm, nn.Linear(6, 4))
    model[1].weight.data, model[1].bias.data = initial(4, 6, seed), torch.zeros(4)
    groups = [{"params": model[1].weight, "weight_decay": head.decay}, {"params": model[1].bias, "weight_decay": 0}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=protocol.momentum)
    per_epoch = len(TRAIN.x) // protocol.batch
    for step in range(protocol.epochs * per_epoch):
        epoch, i = divmod(step, per_epoch)
        rows = shuffled(len(TRAIN.x), seed, epoch)[i * protocol.batch : (i + 1) * protocol.batch]
        share = pace(step, protocol.epochs * per_epoch, protocol.warmup * per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = head.lr * protocol.batch / 256 * share
        optimizer.zero_grad()
        F.cross_entropy(model(TRAIN.x[rows]), TRAIN.y[rows]).backward()
        optimizer.step()
    return model.eval()


def test_each_head_is_the_head_trained_alone() -> None:
    fitted = fit(TRAIN, 4, SMALL)
    for place, (normed, head) in enumerate(itertools.product(SMALL.normed, SMALL.heads)):
        model = alone(head, normed, SMALL)
        torch.testing.assert_close(fitted.weight[place], model[1].weight.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(fitted.bias[place], model[1].bias.detach(), atol=1e-5, rtol=0)
        assert fitted.predict(TEST.x, place, chunk=7).tolist() == model(TEST.x).argmax(1).tolist()


def test_the_best_head_on_validation_data_is_reported() -> None:
    found = linear(TRAIN, VAL, TEST, 4, SMALL)
    fitted = fit(TRAIN, 4, SMALL)
    on_val = [float((fitted.predict(VAL.x, place) == VAL.y).double().mean()) for place in range(12)]
    place = best(on_val)
    assert found.scores["val_top1"] == pytest.approx(100 * max(on_val))
    assert found.predicted.tolist() == fitted.predict(TEST.x, place).tolist()
    head = SMALL.heads[place % 6]
    assert found.chosen == {"lr": head.lr, "decay": head.decay, "batch_norm": place // 6}
    assert torch.equal(found.correct, found.predicted == TEST.y)
    # Where the test prefers other heads, validation data still decide.
    other = linear(TRAIN, VAL, relabelled(TEST), 4, SMALL)
    assert other.chosen == found.chosen
    idle = SMALL._replace(heads=(Head(1.0, 0.0), Head(1e-9, 0.0)), normed=(False,))
    for_idle = Split(VAL.x, fit(TRAIN, 4, idle).predict(VAL.x, 1))
    misled = linear(TRAIN, for_idle, TEST, 4, idle)
    assert misled.chosen["lr"] == 1e-9
    assert misled.scores["top1"] < 50 < found.scores["top1"]


def test_lars_scales_the_step_by_the_norms() -> None:
    weight = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]], requires_grad=True)  # [H, 1, 2]
    bias = torch.zeros(2, 1, requires_grad=True)
    optimiser = SGD({"weight": weight, "bias": bias}, [Head(0.5, 0.1), Head(0.5, 0.1)], momentum=0.9, trust=0.001)
    for _ in range(2):
        (weight.sum() + 2 * bias.sum()).backward()
        optimiser.step(1.0)

    def by_hand(w: Tensor) -> Tensor:
        velocity = torch.zeros(2)
        for _ in range(2):
            change = 1 + 0.1 * w
            ratio = 0.001 * w.norm() / change.norm() if w.norm() > 0 else 1.0
            velocity = 0.9 * velocity + ratio * change
            w = w - 0.5 * velocity
        return w

    torch.testing.assert_close(weight[0, 0].detach(), by_hand(torch.tensor([3.0, 4.0])))
    torch.testing.assert_close(weight[1, 0].detach(), by_hand(torch.zeros(2)))
    assert bias[0].item() == pytest.approx(-0.5 * 2 * (1 + 1.9))  # neither scaled nor decayed


def test_schedules() -> None:
    assert [pace(step, 10, 4) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert pace(7, 10, 4) == pytest.approx(0.5)
    assert pace(10, 10, 4) == pytest.approx(0)
    epochs = [drops(epoch, 50, PROTOCOLS["ijepa"].drop or 0) for epoch in (0, 14, 15, 29, 30, 45, 49)]
    assert epochs == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_published_protocols_learn(name: str) -> None:
    protocol = PROTOCOLS[name]._replace(batch=50)
    heads = len(protocol.heads) * len(protocol.normed)
    assert heads == {"ijepa": 12, "mae": 1, "dinov2": 13}[name]
    if protocol.trust is not None:  # LARS is made for thousands of large batches
        protocol = protocol._replace(heads=tuple(Head(1000 * head.lr, head.decay) for head in protocol.heads))
    found = linear(TRAIN, VAL, TEST, 4, protocol._replace(epochs=20, warmup=min(2, protocol.warmup)))
    assert found.scores["top1"] > 60


def test_the_best_of_several_features_is_chosen_on_validation_data() -> None:
    noise = Split(torch.randn(200, 6, generator=torch.Generator().manual_seed(5)), TRAIN.y)
    results = {
        "last": linear(noise, VAL, TEST, 4, SMALL),
        "last four": linear(TRAIN, VAL, TEST, 4, SMALL),
    }
    chosen = best_of(results)
    assert chosen.chosen["features"] == "last four"
    assert chosen.scores == results["last four"].scores


def test_a_protocol_without_heads_is_refused() -> None:
    with pytest.raises(UserError, match="needs training data, heads"):
        linear(TRAIN, VAL, TEST, 4, SMALL._replace(heads=()))
