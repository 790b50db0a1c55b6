"""The attentive probe: all learning rates and weight decays side by side on the same frozen tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from worldjepa.errors import UserError
from worldjepa.evaluate.linear import shuffled
from worldjepa.evaluate.results import Classified, TokenSplit, best, classified, percent
from worldjepa.evaluate.sweep import AdamW, Head, clip, grid, pace
from worldjepa.nn.pooling import AttentivePool

DEPTH_2 = 4
"""Blocks of V-JEPA 2's probe."""


class AttentiveProtocol(NamedTuple):
    """How an attentive probe is learned."""

    heads: tuple[Head, ...]
    depth: int
    epochs: int
    batch: int
    """At most all of the training split. Learning rates stay as they are, whatever it is."""
    warmup: int = 0
    """Epochs."""
    final_decay: float | None = None
    """What weight decay goes to along half a cosine; by default it stays."""
    clip: float | None = None
    """The most that the norm of a head's gradient may be."""
    attention_heads: int = 16


PROTOCOLS = {
    "vjepa": AttentiveProtocol((Head(1e-3, 0.01),), 1, 20, 256, final_decay=1e-6, clip=1.0),
    "vjepa_image": AttentiveProtocol((Head(1e-3, 1e-3),), 1, 20, 1024),
    "vjepa2": AttentiveProtocol(grid((5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8)), DEPTH_2, 20, 256),
    "vjepa2_image": AttentiveProtocol(
        (*grid((5e-4, 1e-3, 1.5e-3, 2e-3), (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)), Head(1e-3, 1e-3)), DEPTH_2, 20, 1024, 5
    ),
}
"""The published ones, for videos and images. All heads of `vjepa2_image` warm up."""


@torch.no_grad()
def _started(dim: int, classes: int, protocol: AttentiveProtocol, seed: int, device: torch.device) -> nn.Sequential:
    """The network that every head starts from; the global generator stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        pool = AttentivePool(dim, protocol.attention_heads, protocol.depth)
        out = nn.Linear(dim, classes)
        nn.init.trunc_normal_(out.weight, std=0.02)
        nn.init.zeros_(out.bias)
    return nn.Sequential(pool, out).to(device)


class Heads(NamedTuple):
    """Networks of one form, their parameters stacked `[H, ...]`."""

    form: nn.Module
    parameters: dict[str, Tensor]

    def logits(self, x: Float[Tensor, "B n D"]) -> Float[Tensor, "H B C"]:
        """What each head says of the tokens."""

        def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            said: Tensor = functional_call(self.form, parameters, (x,))
            return said

        said: Tensor = vmap(one, in_dims=(0, None))(self.parameters, x)
        return said

    def only(self, head: int) -> Heads:
        """One of them."""
        return Heads(self.form, {name: value[head : head + 1] for name, value in self.parameters.items()})

    @torch.no_grad()
    def predict(self, x: Float[Tensor, "N n D"], chunk: int) -> Int[Tensor, "H N"]:
        """The classes of all samples by each head, on the CPU."""
        like = next(iter(self.parameters.values()))
        return torch.cat([self.logits(rows.to(like)).argmax(-1).cpu() for rows in x.split(chunk)], 1)  # type: ignore[no-untyped-call]


def attentive(
    train: TokenSplit,
    val: TokenSplit,
    test: TokenSplit,
    classes: int,
    protocol: AttentiveProtocol = PROTOCOLS["vjepa2"],
    seed: int = 0,
    device: torch.device | None = None,
    at_a_time: int = 64,
) -> Classified:
    """Train all heads of the protocol side by side and report the one that is best on `val`: `lr` and `decay`.

    Args:
        train: tokens to learn from; they may be memory-mapped.
        val: tokens to choose on.
        test: tokens to report.
        classes: number of classes.
        protocol: how to learn.
        seed: of the first weights and the order.
        device: where to learn; by default where the tokens are.
        at_a_time: samples a pass; the gradients of a batch's passes are summed.

    Raises:
        UserError: the protocol has no heads, or the width does not divide among its attention heads.
    """
    heads = fit(train, classes, protocol, seed, device, at_a_time)
    scores = [percent(one == val.y.cpu()) for one in heads.predict(val.x, at_a_time)]
    place = best(scores)
    head = protocol.heads[place]
    predicted = heads.only(place).predict(test.x, at_a_time)[0]
    return classified(predicted, test.y, {"lr": head.lr, "decay": head.decay}, scores[place])


def fit(
    train: TokenSplit,
    classes: int,
    protocol: AttentiveProtocol,
    seed: int = 0,
    device: torch.device | None = None,
    at_a_time: int = 64,
    dtype: torch.dtype = torch.float32,
) -> Heads:
    """Train all heads from the same weights on the same batches; see `attentive`.

    Raises:
        UserError: the protocol has no heads, or the width does not divide among its attention heads.
    """
    if not protocol.heads or min(protocol.batch, protocol.epochs, at_a_time, len(train.x)) < 1:
        raise UserError(f"an attentive probe needs training data, heads, epochs and a batch of at least 1: {protocol}")
    device = train.x.device if device is None else device
    form = _started(train.x.shape[-1], classes, protocol, seed, device).to(dtype)
    parameters, _ = stack_module_state([form])
    shared = {name: value.detach() for name, value in parameters.items()}
    count = len(protocol.heads)
    heads = Heads(form, {n: v.expand(count, *v.shape[1:]).clone().requires_grad_() for n, v in shared.items()})
    size = min(protocol.batch, len(train.x))
    per_epoch = len(train.x) // size
    move = _mover(heads, protocol, protocol.epochs * per_epoch, per_epoch)
    for epoch in range(protocol.epochs):
        order = shuffled(len(train.x), seed, epoch).to(train.x.device)
        for i in range(per_epoch):
            for rows in order[i * size : (i + 1) * size].split(at_a_time):  # type: ignore[no-untyped-call]
                x, y = train.x[rows].to(device, dtype), train.y[rows].to(device)
                said = heads.logits(x)  # [H, b, C]
                loss = F.cross_entropy(said.flatten(0, 1), y.repeat(count), reduction="sum") / size
                loss.backward()  # type: ignore[no-untyped-call]
            move(epoch * per_epoch + i)
    return Heads(form, {name: value.detach() for name, value in heads.parameters.items()})


def _mover(heads: Heads, protocol: AttentiveProtocol, steps: int, per_epoch: int) -> Callable[[int], None]:
    """What moves all heads at a step."""
    optimiser = AdamW(heads.parameters, protocol.heads)

    def move(step: int) -> None:
        if protocol.clip is not None:
            clip(heads.parameters, protocol.clip)
        decay = None
        if protocol.final_decay is not None:
            decay = protocol.final_decay + (optimiser.decay - protocol.final_decay) * pace(step, steps)
        optimiser.step(pace(step, steps, protocol.warmup * per_epoch), decay)

    return move
