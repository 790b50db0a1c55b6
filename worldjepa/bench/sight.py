"""The examples as each row sees them: features that are computed once, or the observations themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from worldjepa.bench.encoders import Device, Encoders
from worldjepa.bench.probes import FOUR, LAST, RAW, TOKENS
from worldjepa.bench.subject import layers_of
from worldjepa.bench.turns import turn
from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate import features as kept
from worldjepa.evaluate.cached import Identity, Store
from worldjepa.evaluate.embed import batches, raw, shrink
from worldjepa.types import Grid


class Seen(NamedTuple):
    """The observations of a part that could be read, in each way in which probes see them."""

    views: Mapping[str, Tensor]
    indices: list[int]


class Sight:
    """How each row sees the parts of a data set.

    Args:
        encoders: of each row.
        parts: the data.
        facts: what the data are, besides their fingerprints.
        place: where and how encoders run.
        note: is told what takes long.
    """

    def __init__(
        self,
        encoders: Encoders,
        parts: Mapping[str, Observations],
        facts: Mapping[str, Any],
        place: Device,
        note: Callable[[str], object],
    ) -> None:
        self.encoders, self.parts, self.facts, self.place, self.note = encoders, parts, dict(facts), place, note
        self._seen: dict[tuple[str, int, bool], dict[str, Seen]] = {}
        self.spent = 0.0
        """Seconds that features took."""

    def seen(self, row: str, seed: int, tokens: bool) -> dict[str, Seen]:
        """The parts as an encoder sees them, or as they are; those of one row and seed are held.

        Raises:
            UserError: nothing can be read, or the features are no numbers.
        """
        key = (row, 0 if row in ("trained", "raw input") else seed, tokens)
        if key not in self._seen:
            began = time.perf_counter()
            self._seen = {key: {name: self._see(part, row, seed, tokens) for name, part in self.parts.items()}}
            self.spent += time.perf_counter() - began
        return self._seen[key]

    def lattice(self) -> tuple[int, int]:
        """Rows and columns of the tokens.

        Raises:
            UserError: the encoder has no such lattice.
        """
        shape = next(iter(self.parts.values())).shape
        return flat(self.encoders.subject.model.encoder.grid(shape), shape)

    def _see(self, part: Observations, row: str, seed: int, tokens: bool) -> Seen:
        if row == "raw input" and tokens:
            return self._pieces(part)
        if row == "raw input":
            embedded = raw(part, list(range(len(part))), self.place.batch_size)
            return Seen({RAW: embedded.x}, embedded.indices)
        encoder, weights = self.encoders.of(row, seed)
        subject = self.encoders.subject
        wanted = kept.TOKENS if tokens else layers_of(encoder)
        view = {key: value for key, value in self.facts.items() if key != "_target_"}
        identity = Identity(weights, subject.node, view, part.fingerprint(), self.place.precision)
        store, place = Store(), self.place
        folder, _ = store.entry(identity, wanted)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with turn(Path(f"{folder}.lock"), self.note):
            found = store.features(
                encoder.to(place.device), part, wanted, identity, place.batch_size, place.device, place.autocast
            )
        check_finite(found.x, row, subject.name)
        if tokens:
            return Seen({TOKENS: found.x[:, -1]}, found.indices)
        views = {LAST: kept.layer(found.x, -1)}
        if found.x.shape[1] > 1:
            views[FOUR] = kept.side_by_side(found.x)
        return Seen(views, found.indices)

    def _pieces(self, part: Observations) -> Seen:
        lattice, found, indices = self.lattice(), [], list[int]()
        for batch in batches(part, list(range(len(part))), self.place.batch_size):
            found.append(pieces(batch.obs, lattice))
            indices += batch.indices
        if not indices:
            raise UserError(f"none of {len(part)} observations can be read, beginning with {part.name(0)}")
        return Seen({TOKENS: torch.cat(found)}, indices)


def check_finite(x: Tensor, row: str, name: str) -> None:
    """Refuse features that are no numbers.

    Raises:
        UserError: names the model.
    """
    if not torch.isfinite(x).all():
        raise UserError(f"the features of the {row} encoder of {name} are not all numbers: it has diverged")


def flat(grid: Grid, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the lattice of a picture.

    Raises:
        UserError: it is none.
    """
    if grid.t != 1 or len(shape) != 3:
        raise UserError(f"classes of pixels are told of pictures [channels, rows, columns], not of {list(shape)}")
    return grid.h, grid.w


def pieces(obs: Shaped[Tensor, "B C H W"], lattice: tuple[int, int]) -> Float[Tensor, "B n D"]:
    """The pixels under each token, averaged down to at most `MOST_RAW` numbers each; what is left over at the edge is cut."""
    (h, w), (batch, channels, height, width) = lattice, obs.shape
    high, wide = height // h, width // w
    x = obs[:, :, : h * high, : w * wide].float().reshape(batch, channels, h, high, w, wide)
    x = x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # [B*h*w, C, high, wide]
    return shrink(x).flatten(1).unflatten(0, (batch, h * w))  # type: ignore[no-untyped-call, no-any-return]
