"""Features of a whole split, computed once and kept on disk under everything that they depend on.

An entry is a folder: `features.npy`, memory-mapped when it is used, and `meta.json`. While it is under way it holds
`parts-SIZE/`, the shards of `worldjepa.evaluate.shards`; a killed process goes on with the first that is missing. An entry is
written by one process at a time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from worldjepa.data import Observations
from worldjepa.data.cache import home
from worldjepa.errors import Unsaved, UserError, unknown
from worldjepa.evaluate.disk import digest, join, write_json
from worldjepa.evaluate.embed import Context
from worldjepa.evaluate.features import Features
from worldjepa.evaluate.shards import Shards
from worldjepa.interfaces import Encoder

VERSION = 1
"""Changes when the same encoder and data would give other numbers."""
ARRAY, META = "features.npy", "meta.json"
DTYPES = {"float32": np.float32, "float16": np.float16}


class Identity(NamedTuple):
    """What an encoder's answer depends on."""

    weights: str
    """`weights_hash` of the encoder."""
    encoder: Mapping[str, Any]
    """Its configuration."""
    view: Mapping[str, Any]
    """The evaluation view: size, frames, normalisation and the like."""
    data: str
    """`Observations.fingerprint` of the split."""
    precision: str
    """That of the forward pass, such as `32-true` or `bf16-mixed`."""


class Cached(NamedTuple):
    """Features of a split, memory-mapped."""

    x: Float[Tensor, "N L n D"]
    indices: list[int]
    """The observations that they belong to."""
    unreadable: list[str]
    """The names of those that were left out."""

    def labels(self, observations: Observations, factor: str) -> Int[Tensor, " N"]:
        """The classes of one factor."""
        return torch.from_numpy(observations.factors[factor].index[self.indices]).long()


class Store(NamedTuple):
    """Where features are kept, and how."""

    folder: Path | None = None
    """By default `embeddings` in `worldjepa.data.cache.home()`."""
    dtype: str = "float32"
    """`float16` halves the space."""
    shard: int = 512
    """Observations between two points from which to go on."""

    def entry(self, identity: Identity, features: Features) -> tuple[Path, dict[str, Any]]:
        """The folder of an entry, and its key in full.

        Raises:
            UserError: there is no such type.
        """
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        key = {"version": VERSION, **identity._asdict(), "features": features.facts(), "dtype": self.dtype}
        key = json.loads(json.dumps(key, sort_keys=True))
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        return (self.folder or home() / "embeddings").expanduser() / name, key

    def features(
        self,
        encoder: Encoder,
        observations: Observations,
        features: Features,
        identity: Identity,
        batch_size: int,
        device: torch.device,
        autocast: Context = nullcontext,
        progress: Callable[[int], object] = lambda done: None,
    ) -> Cached:
        """The features of all observations, from disk where they are there.

        Args:
            encoder: sees every token.
            observations: in their evaluation views; those that cannot be read are left out and listed.
            features: what is kept of the answer.
            identity: what the answer depends on.
            batch_size: observations per forward pass.
            device: where the encoder is.
            autocast: makes the context to run in.
            progress: told after every batch how many observations are done.

        Raises:
            UserError: the folder holds something else, or nothing can be read.
            Unsaved: the disk does not take it.
        """
        folder, key = self.entry(identity, features)
        found = _open(folder, key)
        if found is not None:
            return found

        def vectors(obs: Tensor) -> NDArray[Any]:
            with autocast():
                return features.of(encoder, obs.to(device)).cpu().numpy().astype(DTYPES[self.dtype])

        was_training = encoder.training
        encoder.eval()
        try:
            shards = Shards(folder / f"parts-{self.shard}", self.shard)
            shards.folder.mkdir(parents=True, exist_ok=True)
            shards.fill(observations, vectors, batch_size, progress)
            _join(folder, key, shards)
        except OSError as error:
            raise Unsaved(
                f"{folder} could not be written: {error.strerror or error}; the same again goes on from here"
            ) from error
        finally:
            encoder.train(was_training)
        made = _open(folder, key)
        assert made is not None
        return made


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over the names and values of all weights."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _join(folder: Path, key: dict[str, Any], shards: Shards) -> None:
    indices, unreadable = shards.indices(), shards.unreadable()
    if not indices:
        raise UserError(f"none of {len(unreadable)} observations can be read, beginning with {unreadable[:1]}")
    join(folder / ARRAY, shards.arrays())
    meta = {"key": key, "sha256": digest(folder / ARRAY), "indices": indices, "unreadable": unreadable}
    write_json(folder / META, meta)
    for parts in folder.glob("parts-*"):
        shutil.rmtree(parts)


def _open(folder: Path, key: dict[str, Any]) -> Cached | None:
    """A finished entry, or None where there is none yet or it is damaged.

    Raises:
        UserError: the folder is not an entry, or that of another key.
    """
    if not folder.exists():
        return None
    strange = [one.name for one in folder.iterdir() if not _ours(one.name)]
    if strange:
        raise UserError(f"{folder} holds something else, such as {strange[0]}: move it out of the way")
    if not (folder / META).exists():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        other, expected, indices, unreadable = (meta[name] for name in ("key", "sha256", "indices", "unreadable"))
    except (ValueError, KeyError, TypeError):  # cut off, or not as we write it
        _discard(folder, META)
        return None
    if other != key:
        raise UserError(f"{folder} holds the features of something else: move it out of the way")
    if not (folder / ARRAY).exists() or digest(folder / ARRAY) != expected:
        _discard(folder, ARRAY)
        return None
    # Copy-on-write: what a tensor is made of must be writable, and the file stays as it is.
    array = np.load(folder / ARRAY, mmap_mode="c", allow_pickle=False)
    return Cached(torch.from_numpy(array), indices, unreadable)


def _ours(name: str) -> bool:
    return name.removeprefix(".") in (ARRAY, META) or name.startswith("parts-")


def _discard(folder: Path, file: str) -> None:
    warnings.warn(f"{folder / file} is damaged: the features are computed anew", stacklevel=4)
    (folder / META).unlink()
