"""A model that is measured, and what is known about it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from worldjepa.data import Observations
from worldjepa.evaluate.cached import weights_hash
from worldjepa.evaluate.features import LAST, LAST_FOUR, Features
from worldjepa.interfaces import Encoder
from worldjepa.interop import Pretrained
from worldjepa.interop.build import instantiated
from worldjepa.train.build import fit


class Subject:
    """A model that is measured.

    Args:
        name: what its results are called.
        checkpoint: its path, as it was given.
        model: the model.
        modality: what it takes.
        method: how it was trained, where that is known.
        data: the resolved group `data` of its training, where that is known.
        cost: what its training cost, as `worldjepa.bench.record.COSTS` names it, where that is asked for.
        last: whether it is not followed by a later checkpoint of the same run.
    """

    def __init__(
        self,
        name: str,
        checkpoint: str,
        model: Pretrained,
        modality: str,
        method: str | None,
        data: Mapping[str, Any] | None,
        cost: Mapping[str, float] | None = None,
        last: bool = True,
    ) -> None:
        self.name, self.checkpoint, self.model = name, checkpoint, model
        self.modality, self.method, self.data = modality, method, data
        self.cost, self.last = dict(cost or {}), last

    @property
    def node(self) -> dict[str, Any]:
        """How its encoder is built."""
        node: dict[str, Any] = self.model.facts["encoder"]
        return node

    @property
    def steps(self) -> int | None:
        """Steps of its training, where that is known."""
        steps: int | None = self.model.facts["steps"]
        return steps

    @functools.cached_property
    def weights(self) -> str:
        """SHA-256 of the encoder's weights."""
        return weights_hash(self.model.encoder)

    def untrained(self, seed: int, observations: Observations) -> Encoder:
        """The same encoder with random weights, its tokenizer shown these observations."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            node = {**self.node, "pretrained": False} if self.node.get("pretrained") else self.node
            encoder = instantiated(node, Encoder, self.checkpoint)  # type: ignore[type-abstract]
        fit(encoder, observations)
        return encoder.eval()


def layers_of(encoder: Encoder) -> Features:
    """The last four layers of an encoder, or the last where it has fewer or does not tell them."""
    tells = type(encoder).layers is not Encoder.layers
    layers = len(encoder.stages()) - 2  # the first is what embeds, the last what follows the layers
    return LAST_FOUR if tells and layers >= len(LAST_FOUR.layers or ()) else LAST
