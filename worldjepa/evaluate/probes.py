"""Probes on frozen embeddings: weighted nearest neighbours and logistic regression.

No choice is ever made on test data: the regulariser is chosen on a validation split.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldjepa.evaluate.neighbours import votes
from worldjepa.evaluate.results import Split

STRENGTHS = tuple(10.0**e for e in range(-1, -8, -1))
"""L2 penalties that `logistic` tries, from strong to weak, so that each solution starts the next."""

PATIENCE = 2
"""`logistic` stops after this many strengths in a row that were no better: weaker ones fit longer and generalise worse."""

WIDE = 1024


def knn(
    train: Split, test: Split, classes: int, k: int = 20, temperature: float = 0.07, chunk: int = 1024
) -> Int[Tensor, " N"]:
    """Predict classes by a vote of the k nearest neighbours in cosine distance, weighted by `exp(similarity / T)`.

    Args:
        train: what to vote with.
        test: what to predict (its labels are not used).
        classes: number of classes.
        k: neighbours; at most all of `train`.
        temperature: T.
        chunk: test rows per matrix product.

    Source: DINO (arXiv 2104.14294), appendix F.
    """
    (predicted,) = votes(train, test.x, classes, [k], [temperature], chunk)
    return predicted


class Logistic(NamedTuple):
    """A fitted logistic regression with the scaling of its inputs."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]
    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"]
    strength: float

    def predict(self, x: Float[Tensor, "N D"]) -> Int[Tensor, " N"]:
        """The most likely class of each row."""
        return F.linear((x.to(self.mean.dtype) - self.mean) / self.std, self.weight, self.bias).argmax(1)


def logistic(
    train: Split, val: Split, classes: int, strengths: tuple[float, ...] = STRENGTHS, iterations: int = 60
) -> Logistic:
    """Fit multinomial logistic regressions on standardised embeddings and keep the one that is best on `val`.

    The loss is the mean cross-entropy plus `strength / 2` times the squared weights (not the biases), minimised by L-BFGS.
    Of equally good strengths the strongest is kept.

    Embeddings of up to `WIDE` features are fitted in float64 and in the basis of their principal components, each scaled by
    the curvature that it gives the loss. That changes nothing about the solution, but learned features are so correlated
    that without it L-BFGS is far from done after ten times the iterations. Wider ones (raw input) are fitted in float32.
    """
    if not strengths:
        raise ValueError("logistic needs at least one strength")
    narrow = train.x.shape[1] <= WIDE
    dtype = torch.float64 if narrow else torch.float32
    x, y = train.x.to(dtype), train.y
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6 * std.max(), std, torch.ones_like(std))
    x, held = (x - mean) / std, (val.x.to(dtype) - mean) / std
    basis, variance = None, torch.ones_like(mean)
    if narrow:
        variance, basis = torch.linalg.eigh(x.T @ x / len(x))
        variance, x, held = variance.clamp_min(0), x @ basis, held @ basis
    share = 1 / classes
    weight, bias = torch.zeros(classes, x.shape[1], dtype=dtype, device=x.device), torch.zeros(classes).to(x)
    best: tuple[int, Logistic] | None = None
    worse = 0
    for strength in strengths:
        scale = (share * (1 - share) * variance + strength).rsqrt()
        weight, bias = _minimise(x, y, weight, bias, scale, strength, iterations)
        hits = int((F.linear(held, weight, bias).argmax(1) == val.y).sum())
        if best is None or hits > best[0]:
            turned = weight if basis is None else weight @ basis.T
            best, worse = (hits, Logistic(mean, std, turned, bias, strength)), 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    assert best is not None
    return best[1]


@torch.enable_grad()
def _minimise(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, strength: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Minimise the penalised loss from a starting point, with each weight measured in units of its feature's `scale`."""
    scaled = x * scale
    unit, offset = (weight / scale).requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [unit, offset], max_iter=iterations, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(scaled, unit, offset), y) + 0.5 * strength * (unit * scale).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return (unit * scale).detach(), offset.detach()


def accuracy(predicted: Int[Tensor, " N"], actual: Int[Tensor, " N"]) -> float:
    """Percentage of rows that agree."""
    return 100.0 * float((predicted == actual).double().mean())
