"""Is the representation collapsing? Rank and spread of a set of embeddings."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rankme(z: Float[Tensor, "N D"], eps: float = 1e-7) -> float:
    """The effective rank of the rows of `z`: the exponential of the entropy of its singular values; in [1, min(N, D)].

    Not centred, as published. Source: RankMe (arXiv 2210.02885), equation 1.
    """
    z = z.double()
    # The eigenvalues of the smaller Gram matrix are the squared singular values, at a fraction of a decomposition's time.
    gram = z.T @ z if z.shape[0] >= z.shape[1] else z @ z.T
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    total = sigma.sum()
    if total == 0:
        return 1.0
    p = sigma / total + eps
    return float(torch.exp(-(p * p.log()).sum()))


def centred_rank(z: Float[Tensor, "N D"]) -> float:
    """RankMe of `z` after its mean is taken off: what is left of the rank once a constant offset no longer counts."""
    return rankme(z - z.mean(0))


def feature_std(z: Float[Tensor, "N D"]) -> float:
    """The standard deviation over samples, averaged over features; 0 is complete collapse."""
    return float(z.double().std(0).mean())


def lidar(z: Float[Tensor, "n q D"], delta: float = 1e-4, eps: float = 1e-8) -> float:
    """The effective rank of what tells samples apart, against how much the views of a sample vary; in [1, min(n - 1, D)].

    Args:
        z: n samples with q views each, such as other masks or crops.
        delta: added to the variance within samples.
        eps: added to the eigenvalues.

    Raises:
        ValueError: fewer than two samples or views.

    Source: LiDAR (arXiv 2312.04000).
    """
    n, q, d = z.shape
    if min(n, q) < 2:
        raise ValueError(f"lidar needs at least 2 samples of at least 2 views, not {n} of {q}")
    z = z.double()
    means = z.mean(1)
    between, within = means - means.mean(0), (z - means[:, None]).flatten(0, 1)
    covariance = within.T @ within / (n * (q - 1)) + delta * torch.eye(d, dtype=z.dtype, device=z.device)
    # Whitened by another root than the symmetric one: the singular values are the same.
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, between.T, upper=False)
    values = torch.linalg.eigvalsh(white @ white.T / (n - 1)).clamp_min(0) + eps
    p = values / values.sum()
    return float(torch.exp(-(p * p.log()).sum()))
