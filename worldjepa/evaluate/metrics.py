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
