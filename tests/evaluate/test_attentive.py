"""The attentive probe: every head of the one pass is the head trained alone, and it finds what a mean cannot."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from worldjepa.errors import UserError
from worldjepa.evaluate.attentive import PROTOCOLS, AttentiveProtocol, attentive, fit
from worldjepa.evaluate.linear import linear, shuffled
from worldjepa.evaluate.results import Split, TokenSplit
from worldjepa.evaluate.sweep import Head, clip, grid, pace
from worldjepa.nn.pooling import AttentivePool


def hidden(n: int, seed: int = 0) -> TokenSplit:
    """One marked token of six says which of two classes it is; the others drown its mean."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 2 * torch.randn(n, 6, 8, generator=rng)
    x[..., 0] = 0
    where = torch.randint(6, (n,), generator=rng)
    x[torch.arange(n), where, 0] = 6.0
    x[torch.arange(n), where, 1] = 3.0 * (2 * y - 1)
    return TokenSplit(x, y)


def settings(depth: int, **more: object) -> AttentiveProtocol:
    plain = AttentiveProtocol(grid((1e-2, 1e-3), (0.0, 0.5)), depth, 2, 16, 1, attention_heads=2)
    return plain._replace(**more)  # type: ignore[arg-type]


TRAIN = hidden(48)


def alone(head: Head, protocol: AttentiveProtocol, form: nn.Module) -> nn.Module:
    """One head in the plainest way, from where `form` stands."""
    per_epoch = len(TRAIN.x) // protocol.batch
    steps = protocol.epochs * per_epoch
    decayed = [p for p in form.parameters() if p.ndim > 1]
    spared = [p for p in form.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": spared}], lr=1.0)
    for step in range(steps):
        epoch, i = divmod(step, per_epoch)
        decay = head.decay
        if protocol.final_decay is not None:
            decay = protocol.final_decay + (decay - protocol.final_decay) * pace(step, steps)
        for group, own in zip(optimizer.param_groups, (decay, 0.0), strict=True):
            group |= {"lr": head.lr * pace(step, steps, protocol.warmup * per_epoch), "weight_decay": own}
        rows = shuffled(len(TRAIN.x), 0, epoch)[i * protocol.batch : (i + 1) * protocol.batch]
        optimizer.zero_grad()
        F.cross_entropy(form(TRAIN.x[rows].double()), TRAIN.y[rows]).backward()
        if protocol.clip is not None:
            nn.utils.clip_grad_norm_(form.parameters(), protocol.clip)
        optimizer.step()
    return form


@pytest.mark.parametrize(
    "protocol", [settings(1, final_decay=1e-3, clip=0.1), settings(4)], ids=["one block", "four blocks"]
)
def test_each_head_is_the_head_trained_alone(protocol: AttentiveProtocol) -> None:
    # In float64: Adam turns rounding errors of gradients that are zero, such as that of the keys' bias, into whole steps.
    together = fit(TRAIN, 2, protocol, at_a_time=5, dtype=torch.float64)
    said = together.logits(TRAIN.x.double())
    for place, head in enumerate(protocol.heads):
        start = fit(TRAIN, 2, protocol._replace(heads=(Head(0.0, 0.0),)), dtype=torch.float64)
        start.form.load_state_dict({name: value[0] for name, value in start.parameters.items()})
        model = alone(head, protocol, start.form)
        for name, value in model.named_parameters():
            torch.testing.assert_close(together.parameters[name][place], value.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(said[place], model(TRAIN.x.double()).detach(), atol=1e-5, rtol=0)
        assert together.only(place).predict(TRAIN.x, 7)[0].tolist() == model(TRAIN.x.double()).argmax(1).tolist()


def test_it_finds_what_a_mean_cannot_and_chooses_on_validation_data() -> None:
    train, val, test = hidden(256), hidden(100, 1), hidden(100, 2)
    protocol = settings(1, epochs=6, batch=16, heads=(Head(1e-6, 0.0), Head(1e-2, 0.0)))
    found = attentive(train, val, test, 2, protocol)
    assert found.chosen == {"lr": 1e-2, "decay": 0.0}
    assert found.scores["top1"] > 95
    assert torch.equal(found.correct, found.predicted == test.y)
    means = [Split(split.x.mean(1), split.y) for split in (train, val, test)]
    assert linear(*means, 2).scores["top1"] < 80
    # Validation labels that the untrained head gets right choose it, whatever the test says.
    idle = fit(train, 2, protocol).predict(val.x, 50)[0]
    misled = attentive(train, TokenSplit(val.x, idle), test, 2, protocol)
    assert misled.chosen["lr"] == 1e-6
    assert misled.scores["top1"] < 75


def test_a_pool_is_attention_of_one_query() -> None:
    torch.manual_seed(0)
    pool = AttentivePool(8, 2, 1)
    x = torch.randn(2, 5, 8)
    cross = pool.cross
    normed = cross.norm1(x)
    k, v = (normed @ cross.attn.kv.weight.T + cross.attn.kv.bias).split(8, -1)
    q = pool.query @ cross.attn.q.weight.T + cross.attn.q.bias
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[:, part] @ k[..., part].transpose(1, 2) / 2.0).softmax(-1)  # [B, 1, n]
        heads.append(weights @ v[..., part])
    query = pool.query + torch.cat(heads, -1)
    expected = query + cross.mlp(cross.norm2(query))
    torch.testing.assert_close(pool(x), expected[:, 0])


def test_the_first_weights_are_scaled_by_depth() -> None:
    torch.manual_seed(0)
    pool = AttentivePool(256, 4, 4)
    for place, block in enumerate(pool.blocks, start=1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert float(weight.detach().std()) == pytest.approx(0.02 / math.sqrt(2 * place), rel=0.05)
    assert float(pool.cross.mlp.fc2.weight.detach().std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.05)
    assert float(pool.cross.attn.kv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_clipping_is_of_each_head() -> None:
    one, two = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    one.grad, two.grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]]), torch.tensor([[4.0], [0.1]])
    clip({"one": one, "two": two}, 1.0)
    torch.testing.assert_close(one.grad, torch.tensor([[0.6, 0, 0], [0.1, 0, 0]]))
    torch.testing.assert_close(two.grad, torch.tensor([[0.8], [0.1]]))


def test_published_protocols() -> None:
    assert {name: (len(p.heads), p.depth) for name, p in PROTOCOLS.items()} == {
        "vjepa": (1, 1),
        "vjepa_image": (1, 1),
        "vjepa2": (20, 4),
        "vjepa2_image": (21, 4),
    }


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="width 8 does not divide among 16 heads"):
        attentive(TRAIN, TRAIN, TRAIN, 2)
    with pytest.raises(UserError, match="needs training data, heads"):
        fit(TRAIN, 2, settings(1, heads=()))
