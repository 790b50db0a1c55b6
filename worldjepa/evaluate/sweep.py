"""Many heads trained side by side: parameters `[H, ...]`, one learning rate and one weight decay each, one backward pass.

The sum of the heads' losses has for each head the gradient that it would have alone, so that each learns as if it were.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor


class Head(NamedTuple):
    """What tells one head from another."""

    lr: float
    decay: float


def grid(lrs: Sequence[float], decays: Sequence[float]) -> tuple[Head, ...]:
    """Every learning rate with every weight decay."""
    return tuple(Head(lr, decay) for lr, decay in product(lrs, decays))


def pace(step: int, steps: int, warmup: int = 0) -> float:
    """What the learning rate is multiplied by at a step, from 0: up a line, then down half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def drops(step: int, steps: int, every: float) -> float:
    """A tenth after each such share of the run."""
    return float(0.1 ** int(step / steps / every + 1e-9))


def per_head(values: Float[Tensor, " H"], like: Tensor) -> Tensor:
    """One number a head, with as many axes as its parameters."""
    return values.reshape(len(values), *(1 for _ in like.shape[1:]))


def norms(x: Float[Tensor, "H ..."]) -> Float[Tensor, " H"]:
    """The norm of each head's numbers."""
    found: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return found


class Optimiser(ABC):
    """Moves the parameters of many heads.

    Args:
        parameters: `[H, ...]` each, leaves.
        heads: learning rate and weight decay of each head. Weight decay spares what has one axis beside the heads', that is
            biases and norms.
    """

    def __init__(self, parameters: Mapping[str, Tensor], heads: Sequence[Head]) -> None:
        self.parameters = dict(parameters)
        device = next(iter(self.parameters.values())).device
        self.lr = torch.tensor([head.lr for head in heads], device=device)
        self.decay = torch.tensor([head.decay for head in heads], device=device)

    @torch.no_grad()
    def step(self, lr: float, decay: Float[Tensor, " H"] | None = None) -> None:
        """Move once, with the learning rates multiplied by `lr`, and forget the gradients."""
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            decays = self.decay if decay is None else decay
            self.move(name, parameter, parameter.grad, self.lr * lr, decays if parameter.ndim > 2 else 0 * decays)
            parameter.grad = None

    @abstractmethod
    def move(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Float[Tensor, " H"], decay: Float[Tensor, " H"]
    ) -> None:
        """Move one tensor of parameters."""


@final
class SGD(Optimiser):
    """Gradient descent with momentum; with `trust`, LARS: each weight's step is scaled by its norm over its gradient's.

    Source: LARS (arXiv 1708.03888); as in MAE and MoCo v3, biases are not scaled.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], heads: Sequence[Head], momentum: float = 0.9, trust: float | None = None
    ) -> None:
        super().__init__(parameters, heads)
        self.momentum, self.trust = momentum, trust
        self.velocity = {name: torch.zeros_like(value) for name, value in self.parameters.items()}

    def move(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Float[Tensor, " H"], decay: Float[Tensor, " H"]
    ) -> None:
        """Move one tensor of parameters."""
        change = gradient + per_head(decay, parameter) * parameter
        if self.trust is not None and parameter.ndim > 2:
            size, slope = norms(parameter), norms(change)
            ratio = torch.where((size > 0) & (slope > 0), self.trust * size / slope, torch.ones_like(size))
            change = change * per_head(ratio, parameter)
        velocity = self.velocity[name].mul_(self.momentum).add_(change)
        parameter.sub_(per_head(lr, parameter) * velocity)


@final
class AdamW(Optimiser):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        heads: Sequence[Head],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, heads)
        self.betas, self.eps = betas, eps
        self.first = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.second = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.moves = dict.fromkeys(self.parameters, 0)

    def move(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Float[Tensor, " H"], decay: Float[Tensor, " H"]
    ) -> None:
        """Move one tensor of parameters."""
        self.moves[name] += 1
        first = self.first[name].lerp_(gradient, 1 - self.betas[0])
        second = self.second[name].mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        unbiased = [1 - beta ** self.moves[name] for beta in self.betas]
        change = (first / unbiased[0]) / ((second / unbiased[1]).sqrt() + self.eps)
        parameter.mul_(1 - per_head(lr * decay, parameter)).sub_(per_head(lr, parameter) * change)


@torch.no_grad()
def clip(parameters: Mapping[str, Tensor], most: float) -> None:
    """Bring each head's gradient to a norm of at most `most`."""
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    total = torch.stack([norms(gradient) for gradient in gradients]).norm(dim=0)  # [H]
    share = (most / (total + 1e-6)).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(per_head(share, gradient))
