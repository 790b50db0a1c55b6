"""The linear probe by gradient descent: all learning rates, weight decays and norms in one pass over frozen features.

Features are those of the evaluation view; the published protocols also crop and flip at random while they learn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.evaluate.results import Choice, Classified, Split, best, classified, percent
from worldjepa.evaluate.sweep import SGD, Head, drops, grid, pace

REFERENCE = 256
"""Learning rates are for batches of this size, and grow in proportion to it."""


class Protocol(NamedTuple):
    """How a linear probe is learned."""

    heads: tuple[Head, ...]
    epochs: int
    batch: int
    """At most all of the training split; learning rates are scaled to what it is."""
    warmup: int = 0
    """Epochs."""
    drop: float | None = None
    """The learning rate falls to a tenth after each such share of the run; by default along half a cosine to 0."""
    trust: float | None = None
    """Of LARS; by default plain gradient descent."""
    normed: tuple[bool, ...] = (False,)
    """Heads behind a BatchNorm without affine parameters (True), without (False), or some of each."""
    momentum: float = 0.9


TRUST = 0.001
PROTOCOLS = {
    "ijepa": Protocol(grid((0.01, 0.05, 0.001), (5e-4, 0.0)), 50, 16_384, 0, 0.3, TRUST, (False, True)),
    "mae": Protocol(grid((0.1,), (0.0,)), 90, 16_384, 10, None, TRUST, (True,)),
    "dinov2": Protocol(
        grid((1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1), (0.0,)), 10, 1024
    ),
}
"""The published ones. I-JEPA's is given the last layer and the last four (`best_of`), and falls to a tenth every 15 epochs.

The two with LARS are made for thousands of steps with batches of 16,384: on a small split they end far from where they would.
"""

BATCH_NORM_EPS = 1e-6  # MAE


class Fitted(NamedTuple):
    """Trained heads, V norms by H settings, as one axis."""

    weight: Float[Tensor, "V*H C D"]
    bias: Float[Tensor, "V*H C"]
    mean: Float[Tensor, "V D"]
    std: Float[Tensor, "V D"]

    def predict(self, x: Float[Tensor, "N D"], head: int, chunk: int = 4096) -> Int[Tensor, " N"]:
        """The classes of `x` by one head."""
        norm = head // (len(self.weight) // len(self.mean))
        mean, std = self.mean[norm], self.std[norm]
        weight, bias = self.weight[head], self.bias[head]
        return torch.cat([F.linear((rows.to(mean) - mean) / std, weight, bias).argmax(1) for rows in x.split(chunk)])  # type: ignore[no-untyped-call]


def linear(
    train: Split,
    val: Split,
    test: Split,
    classes: int,
    protocol: Protocol = PROTOCOLS["dinov2"],
    seed: int = 0,
    device: torch.device | None = None,
) -> Classified:
    """Train all heads of the protocol side by side and report the one that is best on `val`.

    `chosen` has `lr` (as in the protocol, for batches of 256), `decay` and `batch_norm` (0 or 1).

    Raises:
        UserError: the protocol has no heads or no batches.
    """
    fitted = fit(train, classes, protocol, seed, device)
    scores = [percent(fitted.predict(val.x, head).cpu() == val.y.cpu()) for head in range(len(fitted.weight))]
    place = best(scores)
    head = protocol.heads[place % len(protocol.heads)]
    chosen: Choice = {"lr": head.lr, "decay": head.decay}
    chosen["batch_norm"] = int(protocol.normed[place // len(protocol.heads)])
    return classified(fitted.predict(test.x, place), test.y, chosen, scores[place])


def fit(train: Split, classes: int, protocol: Protocol, seed: int = 0, device: torch.device | None = None) -> Fitted:
    """Train all heads from the same weights on the same batches.

    Raises:
        UserError: the protocol has no heads or no batches.
    """
    if not protocol.heads or not protocol.normed or protocol.batch < 1 or protocol.epochs < 1 or not len(train.x):
        raise UserError(f"a linear probe needs training data, heads, epochs and a batch of at least 1: {protocol}")
    device = train.x.device if device is None else device
    size = min(protocol.batch, len(train.x))
    heads = [Head(h.lr * size / REFERENCE, h.decay) for _ in protocol.normed for h in protocol.heads]
    start = initial(classes, train.x.shape[1], seed).to(device).expand(len(heads), -1, -1).clone()
    parameters = {"weight": start, "bias": torch.zeros(len(heads), classes, device=device)}
    for parameter in parameters.values():
        parameter.requires_grad_()
    # Without a momentum it keeps the plain average over all batches: a short run would else be judged by half a mean.
    norm = nn.BatchNorm1d(train.x.shape[1], eps=BATCH_NORM_EPS, affine=False, momentum=None).to(device)
    optimiser = SGD(parameters, heads, protocol.momentum, protocol.trust)
    per_epoch = len(train.x) // size
    steps = protocol.epochs * per_epoch
    for epoch in range(protocol.epochs):
        order = shuffled(len(train.x), seed, epoch)
        for i in range(per_epoch):
            rows = order[i * size : (i + 1) * size].to(train.x.device)
            x, y = train.x[rows].to(device).float(), train.y[rows].to(device)
            _losses(_inputs(x, norm, protocol.normed), y, parameters).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step(_pace(protocol, epoch * per_epoch + i, steps, per_epoch))
    mean, std = norm.running_mean, norm.running_var
    assert mean is not None
    assert std is not None
    std = (std + BATCH_NORM_EPS).sqrt()
    plain = [(mean, std) if normed else (0 * mean, torch.ones_like(std)) for normed in protocol.normed]
    weight, bias = (parameter.detach() for parameter in parameters.values())
    return Fitted(weight, bias, *(torch.stack(part) for part in zip(*plain, strict=True)))


def _inputs(x: Float[Tensor, "B D"], norm: nn.BatchNorm1d, normed: tuple[bool, ...]) -> Float[Tensor, "V B D"]:
    batch_normed = norm(x) if any(normed) else x
    return torch.stack([batch_normed if one else x for one in normed])


def _losses(x: Float[Tensor, "V B D"], y: Int[Tensor, " B"], parameters: dict[str, Tensor]) -> Float[Tensor, " heads"]:
    """The mean cross-entropy of each head."""
    weight, bias = parameters["weight"], parameters["bias"]
    v, b, d = x.shape
    flat = weight.view(v, -1, d)  # [V, H*C, D]
    logits = torch.bmm(x, flat.transpose(1, 2)).view(v, b, -1, bias.shape[1])  # [V, B, H, C]
    logits = logits.transpose(1, 2).flatten(0, 1) + bias[:, None]  # [V*H, B, C]
    loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(bias)), reduction="none")
    return loss.view(len(bias), b).mean(1)


def _pace(protocol: Protocol, step: int, steps: int, per_epoch: int) -> float:
    if protocol.drop is not None:
        return drops(step, steps, protocol.drop)
    return pace(step, steps, protocol.warmup * per_epoch)


def initial(classes: int, dim: int, seed: int) -> Float[Tensor, "C D"]:
    """The weights that every head starts from, N(0, 0.01)."""
    return 0.01 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed))


def shuffled(count: int, seed: int, epoch: int) -> Int[Tensor, " N"]:
    """The order of the examples in an epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch + 1))
