"""Fine-tuning: the whole encoder learns, early stages more slowly."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.data import Observations, ProbeSplits
from worldjepa.data.views import stacked
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.embed import Context, batches
from worldjepa.evaluate.linear import shuffled
from worldjepa.evaluate.results import Classified, best, classified, percent
from worldjepa.evaluate.sweep import pace
from worldjepa.interfaces import Encoder
from worldjepa.nn.blocks import Block
from worldjepa.types import Tokens


class Recipe(NamedTuple):
    """How an encoder is fine-tuned; by default as I-JEPA with 1 % of ImageNet's labels, in size L.

    Source: I-JEPA (arXiv 2301.08243), appendix C. Augmentation is that of the data; mixup and cutmix are not there.
    """

    lrs: tuple[float, ...] = (3e-5,)
    """Each is tried; that of the head and of what follows the last block."""
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    """Each stage learns at this share of the rate of the next."""
    label_smoothing: float = 0.1
    epochs: int = 50
    batch: int = 512
    """At most all of the training split."""
    warmup: int = 5
    """Epochs."""
    drop_path: float = 0.0
    """How likely the last block is left out for a sample; earlier ones in proportion to their place."""
    betas: tuple[float, float] = (0.9, 0.999)


@final
class Tuned(nn.Module):
    """An encoder and a linear layer on the mean of its tokens."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, obs: Tensor) -> Float[Tensor, "B C"]:
        """What it says of observations, in float32."""
        tokens: Tokens = self.encoder(obs)
        logits: Tensor = self.head(tokens.x.mean(1))
        return logits.float()


@final
class Dropped(nn.Module):
    """A branch of a block that is left out at random, sample by sample, while it learns."""

    def __init__(self, branch: nn.Module, share: float) -> None:
        super().__init__()
        self.branch, self.share = branch, share

    def forward(self, x: Tensor, *more: Any, **named: Any) -> Tensor:
        """The branch, scaled to the same mean, or nothing."""
        from timm.layers.drop import drop_path  # imports all of timm's models: only where it is used

        kept: Tensor = drop_path(self.branch(x, *more, **named), self.share, self.training)
        return kept


def finetune(
    encoder: Encoder,
    splits: ProbeSplits,
    factor: str,
    recipe: Recipe,
    device: torch.device,
    seed: int = 0,
    autocast: Context = nullcontext,
) -> Classified:
    """Fine-tune a copy of the encoder with each learning rate and report the one that is best on `val`: `lr`.

    Args:
        encoder: stays as it is.
        splits: `train` is seen augmented; what cannot be read is left out.
        factor: what is learned.
        recipe: how.
        device: where.
        seed: of the head, the order, the augmentation and what is dropped.
        autocast: makes the context for mixed precision.

    Raises:
        UserError: the encoder does not tell its stages, or has no blocks to drop.
    """
    classes = len(splits.train.factors[factor].names)
    models, scores = [], []
    for lr in recipe.lrs:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = _trained(encoder, splits.train, factor, classes, recipe, lr, device, seed, autocast)
        predicted, actual = _predict(model, splits.val, factor, recipe.batch, device, autocast)
        models.append(model.cpu())
        scores.append(percent(predicted == actual))
    place = best(scores)
    predicted, actual = _predict(models[place].to(device), splits.test, factor, recipe.batch, device, autocast)
    return classified(predicted, actual, {"lr": recipe.lrs[place]}, scores[place])


def groups(model: Tuned, lr: float, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of AdamW, each with its own peak learning rate: two a stage, and two for the head.

    The head, and what follows the last block, learn at `lr`, the last block at `lr * layer_decay`, and so on down to what
    embeds. Weight decay spares what has one axis.

    Raises:
        UserError: the encoder does not tell its stages.
    """
    stages = model.encoder.stages()
    if len(stages) == 1 and recipe.layer_decay != 1:
        raise UserError(
            f"{type(model.encoder).__name__} does not tell its stages, so layer_decay={recipe.layer_decay} means nothing: "
            "override `Encoder.stages`, or fine-tune with layer_decay=1"
        )
    rates = [lr * recipe.layer_decay ** (len(stages) - 1 - place) for place in range(len(stages))]
    found = []
    for rate, stage in zip([*rates, lr], [*stages, list(model.head.parameters())], strict=True):
        for decay, members in (
            (recipe.weight_decay, [p for p in stage if p.ndim > 1]),
            (0.0, [p for p in stage if p.ndim <= 1]),
        ):
            if members:
                found.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    return found


def drop_paths(encoder: Encoder, share: float) -> None:
    """Let the branches of the last block be left out with this probability, those of earlier ones less, the first never.

    Raises:
        UserError: there are no transformer blocks.
    """
    from timm.models.vision_transformer import Block as TimmBlock

    blocks = [part for part in encoder.modules() if isinstance(part, Block | TimmBlock)]
    if not blocks:
        raise UserError(f"{type(encoder).__name__} has no transformer blocks: fine-tune it with drop_path=0")
    for place, block in enumerate(blocks):
        own = share * place / max(1, len(blocks) - 1)
        block.attn = Dropped(block.attn, own)
        block.mlp = Dropped(block.mlp, own)


def _trained(
    encoder: Encoder,
    train: Observations,
    factor: str,
    classes: int,
    recipe: Recipe,
    lr: float,
    device: torch.device,
    seed: int,
    autocast: Context,
) -> Tuned:
    torch.manual_seed(seed)
    model = Tuned(copy.deepcopy(encoder).requires_grad_(True), classes).to(device).train()
    found = groups(model, lr, recipe)
    if recipe.drop_path > 0:
        drop_paths(model.encoder, recipe.drop_path)
    optimizer = torch.optim.AdamW(found, lr=lr, betas=recipe.betas)
    size = min(recipe.batch, len(train))
    per_epoch = len(train) // size
    steps = recipe.epochs * per_epoch
    labels = torch.from_numpy(train.factors[factor].index).long()
    for epoch in range(recipe.epochs):
        for i, (obs, rows) in enumerate(augmented(train, size, seed, epoch)):
            share = pace(epoch * per_epoch + i, steps, recipe.warmup * per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            with autocast():
                said = model(obs.to(device))
            loss = F.cross_entropy(said, labels[rows].to(device), label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


def augmented(train: Observations, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, list[int]]]:
    """The batches of an epoch with their indices, the augmentation a function of seed, epoch and sample."""
    order = shuffled(len(train), seed, epoch).tolist()
    for start in range(0, len(order) - size + 1, size):
        views, rows = [], []
        for index in order[start : start + size]:
            key = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=8).digest()
            rng = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
            try:
                views.append(train.observe(index, rng))
            except Unreadable:
                continue  # what training lists, this leaves out
            rows.append(index)
        if rows:
            obs = stacked(views).obs
            assert isinstance(obs, Tensor)
            yield obs, rows


@torch.no_grad()
def _predict(
    model: Tuned, observations: Observations, factor: str, size: int, device: torch.device, autocast: Context
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Predicted and actual classes of all that can be read."""
    model.eval()
    predicted, rows = [], list[int]()
    for batch in batches(observations, list(range(len(observations))), size):
        with autocast():
            predicted.append(model(batch.obs.to(device)).argmax(1).cpu())
        rows += batch.indices
    if not rows:
        raise UserError(f"none of {len(observations)} observations can be read, beginning with {observations.name(0)}")
    return torch.cat(predicted), torch.from_numpy(observations.factors[factor].index[rows]).long()
