"""Files of weights, opened so that nothing in them can run: safetensors, or PyTorch's files of plain tensors."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldjepa.errors import UserError

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
"""Where a folder may keep its weights; the first that is there is read."""

MOST_CONFIG = 1 << 20
"""Bytes of a `config.json` that are read at most."""
MOST_INDEX = 64 << 20

_SPOILT = (
    pickle.UnpicklingError,  # classes that are no plain data, and broken pickles
    *(OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError),
    *(AssertionError, zipfile.BadZipFile, RecursionError, struct.error),
)
"""What PyTorch raises on files that it refuses or that are damaged."""


class Source:
    """What a path holds: a folder with a configuration and weights, or a file of weights. Weights are read when asked for.

    Args:
        path: the file or folder.

    Raises:
        UserError: it is an address on the network, or not there.
    """

    def __init__(self, path: str | Path) -> None:
        if "://" in str(path) or str(path).startswith(("http:/", "https:/", "hf:")):
            raise UserError(
                f"{path} is an address, not a file: download it first and give its path (weights are not fetched)"
            )
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise UserError(f"there is no file or folder '{path}'")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The `config.json` of a folder, or of the folder that the file of weights lies in; empty without one.

        Raises:
            UserError: it is not an object of JSON.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        if self.path.is_file() and self.path.name not in WEIGHTS:
            return {}
        file = folder / CONFIG
        return read_json(file, MOST_CONFIG) if file.exists() else {}

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What the weights' file holds, as it is nested there.

        Raises:
            UserError: there is none, or it is damaged or holds more than plain data.
        """
        if self.path.is_file():
            return _read(self.path)
        file = next((self.path / name for name in WEIGHTS if (self.path / name).is_file()), None)
        if file is None:
            raise UserError(f"{self.path} holds no weights: expected one of {', '.join(WEIGHTS)}")
        return _read_shards(file) if file.name == INDEX else _read(file)

    @property
    def keys(self) -> set[str]:
        """The names at the top of the file; none for a folder without weights."""
        weights = self.path.is_file() or any((self.path / name).is_file() for name in WEIGHTS)
        return {str(name) for name in self.content} if weights else set()

    def tensors(self, part: str | None = None) -> dict[str, Tensor]:
        """The named tensors at the top of the file or in one part of it, without the prefix of a data-parallel wrapper.

        Raises:
            UserError: there is no such part, or something in it is not a floating-point tensor.
        """
        found = self.content if part is None else self.content.get(part)
        if not isinstance(found, Mapping):
            raise UserError(f"{self.path} has no '{part}'; it holds: {', '.join(sorted(map(str, self.content)))[:200]}")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, Tensor) or not value.is_floating_point():
                what = f"of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                raise UserError(f"{self.path}: '{name}' must be a floating-point tensor, but is {what}")
        return without_prefix(found, "module.")


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors without a prefix that all names share; as they are if one has none."""
    if not all(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def read_json(file: Path, most: int) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        UserError: it is no plain file, too large, or no object.
    """
    try:
        if not file.is_file():
            raise UserError(f"{file} is not a file")
        if file.stat().st_size > most:
            raise UserError(f"{file} has more than {most:,} bytes")
        found = json.loads(file.read_text(encoding="utf-8"))
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold an object of JSON")
    return found


def _read(file: Path) -> Mapping[str, Any]:
    found = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{file} holds no named tensors")
    return found


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as saved:
            return {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{file} cannot be read as safetensors: {error}") from error


def _read_torch(file: Path) -> Any:
    try:
        # PyTorch warns of pickles that it does not write itself: they are either plain tensors or refused.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain_tensors(file)
    except _SPOILT as error:
        raise UserError(
            f"{file} is damaged, or holds more than plain tensors and is not opened: {_short(error)}"
        ) from error


def _plain_tensors(file: Path) -> Any:
    # Mapped where the format allows it: the optimiser's state in an official file is never read from disk. Said at the
    # call, weights_only holds whatever the environment says.
    return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _read_shards(index: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    where = read_json(index, MOST_INDEX).get("weight_map")
    names = (
        set(where.values()) if isinstance(where, dict) and all(isinstance(v, str) for v in where.values()) else set()
    )
    if not names:
        raise UserError(f"{index} does not say which file holds which tensor")
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index} names '{name}', which is not a safetensors file beside it")
        found |= _read_safetensors(index.parent / name)
    return found


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    reason = next((line for line in lines if "Unsupported" in line or "Unsupported global" in line), lines[0])
    return f"{type(error).__name__}: {reason.strip()[:200]}"
