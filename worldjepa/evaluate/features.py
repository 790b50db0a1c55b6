"""What is kept of an encoder's answer: which layers, and of each the mean of its tokens or all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldjepa.errors import unknown
from worldjepa.interfaces import Encoder
from worldjepa.types import Tokens

POOLINGS = ("mean", "tokens")


class Features(NamedTuple):
    """What is kept of an encoder's answer.

    Source: I-JEPA, appendix A.2 (the mean of the last layer's tokens, or the means of the last four side by side).
    """

    layers: tuple[int, ...] | None = (-1,)
    """Which layers, as for `Encoder.layers`; None means all."""
    pooling: str = "mean"
    """`mean` keeps one vector a layer, `tokens` all tokens, for attentive and dense probes."""

    def of(self, encoder: Encoder, obs: Tensor | Tokens) -> Float[Tensor, "B L n D"]:
        """The features of observations in float32, from one pass; n is 1 for means.

        Raises:
            UserError: there is no such pooling or layer.
        """
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)
        means = self.pooling == "mean"
        kept = [one.x.float() for one in encoder.layers(obs, self.layers)]
        return torch.stack([x.mean(1, keepdim=True) if means else x for x in kept], dim=1)

    def facts(self) -> dict[str, Any]:
        """The same for a file of JSON."""
        return {"layers": None if self.layers is None else list(self.layers), "pooling": self.pooling}


LAST = Features()
"""The mean of the last layer."""
LAST_FOUR = Features((-4, -3, -2, -1))
"""The means of the last four layers; `side_by_side` makes one vector of them."""
EVERY = Features(None)
"""The mean of every layer: one set of features a layer."""
TOKENS = Features(pooling="tokens")
"""The tokens of the last layer."""


def side_by_side(x: Float[Tensor, "N L n D"]) -> Float[Tensor, "N L*D"]:
    """The means of all layers as one vector, the first layer first."""
    return x.mean(2).flatten(1)


def layer(x: Float[Tensor, "N L n D"], index: int) -> Float[Tensor, "N D"]:
    """The mean of one layer."""
    return x[:, index].mean(1)
