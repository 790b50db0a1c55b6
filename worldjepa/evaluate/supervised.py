"""What the labels are good for: the same encoder, trained from scratch to tell everything that is known about its data.

All factors are learned at once, by a linear layer each on the mean of the tokens, so that one training serves every question
about the same data. It is a ceiling only as far as the budget reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.data import Observations, ProbeSplits
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import Context, batches
from worldjepa.evaluate.finetune import augmented
from worldjepa.evaluate.linear import shuffled
from worldjepa.evaluate.results import percent, r2
from worldjepa.evaluate.sweep import pace
from worldjepa.interfaces import Encoder
from worldjepa.types import Tokens


class Budget(NamedTuple):
    """How long is trained, and how; AdamW, up a line and down half a cosine."""

    steps: int
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    """Share of the steps."""
    checks: int = 5
    """How often the validation split is looked at: each factor is reported from where it was best."""
    seeds: int = 3
    """At most so many trainings."""
    augment: bool = True
    """Learn from augmented views, where the data make them; otherwise from those of evaluation."""


class Known(NamedTuple):
    """What is known of the observations of three splits under one name, by their index."""

    train: Shaped[Tensor, "N ..."]
    """Classes [N] as whole numbers, or numbers [N, R]."""
    val: Shaped[Tensor, "N ..."]
    test: Shaped[Tensor, "N ..."]
    classes: int
    """How many; 0 for numbers."""


class Taught(NamedTuple):
    """What was told of the test split at the check that was best on the validation split."""

    predicted: Shaped[Tensor, "N ..."]
    """Of the observations that could be read."""
    indices: list[int]
    val: float
    """Percent of the validation split, or its R²."""
    step: int


@final
class Teller(nn.Module):
    """An encoder with a linear layer for each name."""

    def __init__(self, encoder: Encoder, known: Mapping[str, Known]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        for name, one in known.items():
            head = nn.Linear(encoder.dim, one.classes or one.train.shape[1])
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
            self.heads[name.replace(".", " ")] = head

    def forward(self, obs: Tensor) -> dict[str, Float[Tensor, "B C"]]:
        """What is said of observations under each name, in float32."""
        tokens: Tokens = self.encoder(obs)
        mean = tokens.x.mean(1)
        return {name: head(mean).float() for name, head in self.heads.items()}


def supervised(
    encoder: Encoder,
    splits: ProbeSplits,
    known: Mapping[str, Known],
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    autocast: Context = nullcontext,
    tell: Callable[[int], object] = lambda step: None,
) -> dict[str, Taught]:
    """Train an encoder with labels and return what it says of the test split.

    Args:
        encoder: untrained; it is trained in place.
        splits: `train` is seen augmented where the data are; what cannot be read is left out.
        known: what is learned, by name.
        budget: how long.
        device: where.
        seed: of the heads, the order and the augmentation.
        autocast: makes the context for mixed precision.
        tell: is told the number of steps taken.

    Raises:
        UserError: the budget is none, or nothing can be read.
    """
    if min(budget.steps, budget.batch, budget.checks) < 1 or not len(splits.train):
        raise UserError(f"supervised training needs examples, and at least one step, sample and check: {budget}")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Teller(encoder, known).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=budget.lr, weight_decay=budget.weight_decay)
        size = min(budget.batch, len(splits.train))
        scales = {name: _scale(one.train) for name, one in known.items() if not one.classes}
        found: dict[str, Taught] = {}
        step = 0
        for epoch in range(budget.steps):  # an epoch has at least one step
            for obs, rows in _epoch(splits.train, size, seed, epoch, budget.augment):
                for group in optimizer.param_groups:
                    group["lr"] = budget.lr * pace(step, budget.steps, max(1, round(budget.warmup * budget.steps)))
                _learn(model.train(), optimizer, obs.to(device), rows, known, scales, autocast)
                step += 1
                tell(step)
                if step * budget.checks // budget.steps > (step - 1) * budget.checks // budget.steps:
                    _check(model.eval(), splits, known, scales, size, device, autocast, step, found)
                if step == budget.steps:
                    return found
            if step == 0:
                raise UserError(
                    f"none of {len(splits.train)} observations can be read, beginning with {splits.train.name(0)}"
                )
    raise AssertionError("the loop returns after the last step")


def _epoch(
    train: Observations, size: int, seed: int, epoch: int, augment: bool
) -> Iterator[tuple[Tensor, Sequence[int]]]:
    """The batches of an epoch with their indices; the last ones that fill no batch are left out."""
    if augment:
        yield from augmented(train, size, seed, epoch)
        return
    order = shuffled(len(train), seed, epoch).tolist()
    for batch in batches(train, order[: len(order) // size * size], size):
        yield batch.obs, batch.indices


def _scale(values: Float[Tensor, "N R"]) -> tuple[Tensor, Tensor]:
    std = values.float().std(0, correction=0)
    return values.float().mean(0), torch.where(std > 0, std, torch.ones_like(std))


def _learn(
    model: Teller,
    optimizer: torch.optim.Optimizer,
    obs: Tensor,
    rows: Sequence[int],
    known: Mapping[str, Known],
    scales: Mapping[str, tuple[Tensor, Tensor]],
    autocast: Context,
) -> None:
    with autocast():
        said = model(obs)
    losses = []
    for name, logits in zip(known, said.values(), strict=True):
        actual = known[name].train[list(rows)].to(obs.device)
        if known[name].classes:
            losses.append(F.cross_entropy(logits, actual))
        else:
            mean, std = (part.to(obs.device) for part in scales[name])
            losses.append(F.mse_loss(logits, (actual.float() - mean) / std))
    optimizer.zero_grad()
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _check(
    model: Teller,
    splits: ProbeSplits,
    known: Mapping[str, Known],
    scales: Mapping[str, tuple[Tensor, Tensor]],
    size: int,
    device: torch.device,
    autocast: Context,
    step: int,
    found: dict[str, Taught],
) -> None:
    """Keep what is said of the test split under each name whose validation score is the best so far."""
    said, indices = _said(model, splits.val, known, scales, size, device, autocast)
    scores = {name: _score(said[name], one.val[indices], one.classes) for name, one in known.items()}
    better = [name for name in known if name not in found or scores[name] > found[name].val]
    if better:
        said, indices = _said(model, splits.test, known, scales, size, device, autocast)
        found.update({name: Taught(said[name], indices, scores[name], step) for name in better})


def _score(said: Tensor, actual: Tensor, classes: int) -> float:
    return percent(said == actual) if classes else float(r2(said.double(), actual.double()).mean())


@torch.no_grad()
def _said(
    model: Teller,
    observations: Observations,
    known: Mapping[str, Known],
    scales: Mapping[str, tuple[Tensor, Tensor]],
    size: int,
    device: torch.device,
    autocast: Context,
) -> tuple[dict[str, Tensor], list[int]]:
    parts: dict[str, list[Tensor]] = {name: [] for name in known}
    indices = list[int]()
    for batch in batches(observations, list(range(len(observations))), size):
        with autocast():
            said = model(batch.obs.to(device))
        for name, logits in zip(known, said.values(), strict=True):
            if known[name].classes:
                parts[name].append(logits.argmax(1).cpu())
            else:
                mean, std = scales[name]
                parts[name].append(logits.cpu() * std + mean)
        indices += batch.indices
    if not indices:
        raise UserError(f"none of {len(observations)} observations can be read, beginning with {observations.name(0)}")
    return {name: torch.cat(part) for name, part in parts.items()}, indices
