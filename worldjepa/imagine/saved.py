"""Decoders on disk: safetensors and JSON, the latter written last; what was interrupted is as if it were not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from worldjepa.errors import Unsaved, UserError, unknown
from worldjepa.imagine.decoders import Diffusion, Regression
from worldjepa.imagine.measure import Pair
from worldjepa.imagine.network import UNet
from worldjepa.imagine.with_diffusers import Attending, Diffusers
from worldjepa.train.folder import write_json

WEIGHTS, FACTS = "decoder.safetensors", "decoder.json"
VERSION = 3
"""Part of the key: raise it whenever a change makes decoders of the same key differ."""
MOST_JSON = 1 << 20
KINDS = ("unet", "diffusers")
"""Whose network and schedule: ours, or those of the package diffusers."""


def built(network: dict[str, Any], shape: list[int], steps: int, guidance: float) -> Pair:
    """A decoder and its control with random weights from the global generator.

    Args:
        network: what its constructor takes; beside it `kind`, see `KINDS`.
        shape: of a picture.
        steps: of sampling.
        guidance: of sampling.

    Raises:
        UserError: there is no such kind, or its package is not installed.
    """
    sizes = dict(network)
    kind = sizes.pop("kind")
    if kind == "unet":
        return Pair(Diffusion(UNet(**sizes), shape, steps=steps, guidance=guidance), Regression(UNet(**sizes), shape))
    if kind != "diffusers":
        raise unknown("decoder", str(kind), KINDS)
    return Pair(
        Diffusers(Attending(**sizes), shape, steps=steps, guidance=guidance), Regression(Attending(**sizes), shape)
    )


def save(folder: Path, pair: Pair, key: dict[str, Any], network: dict[str, Any], shape: list[int]) -> None:
    """Write decoder and control.

    Raises:
        Unsaved: the disk does not take them.
    """
    tensors = {
        f"{name}.{tensor}": value.detach().cpu().contiguous()
        for name, part in pair._asdict().items()
        for tensor, value in part.state_dict().items()
    }
    aside = folder / f".{WEIGHTS}.{os.getpid()}"
    try:
        save_file(tensors, aside)
        facts = {"key": key, "network": network, "shape": shape, "sha256": _digest(aside)}
        aside.replace(folder / WEIGHTS)
        write_json(folder / FACTS, facts)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise Unsaved(f"the decoder could not be written to {folder}: {error}") from error


def load(folder: Path, key: dict[str, Any], steps: int, guidance: float) -> Pair | None:
    """The decoder of a folder if it is whole and was made with this key."""
    try:
        facts = _facts(folder)
        if facts.get("key") != json.loads(json.dumps(key)) or facts.get("sha256") != _digest(folder / WEIGHTS):
            return None
        return _filled(folder, facts, steps, guidance)
    except (OSError, UserError):
        return None


def read(folder: Path, steps: int = 25, guidance: float = 1.0) -> Pair:
    """The decoder that `worldjepa imagine` left in a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        facts = _facts(folder)
        if facts.get("sha256") != _digest(folder / WEIGHTS):
            raise UserError(f"{folder / WEIGHTS} does not have the checksum that {FACTS} says")
        return _filled(folder, facts, steps, guidance)
    except OSError as error:
        raise UserError(f"{folder} holds no decoder of worldjepa imagine: {error.strerror or error}") from error


def _facts(folder: Path) -> dict[str, Any]:
    file = folder / FACTS
    if file.stat().st_size > MOST_JSON:
        raise UserError(f"{file} has more than {MOST_JSON:,} bytes")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise UserError(f"{file} does not describe a decoder")
    return facts


def _filled(folder: Path, facts: dict[str, Any], steps: int, guidance: float) -> Pair:
    try:
        pair = built(dict(facts["network"]), list(facts["shape"]), steps, guidance)
        tensors = load_file(folder / WEIGHTS)
        for name, part in pair._asdict().items():
            own = {
                tensor.removeprefix(f"{name}."): value for tensor, value in tensors.items() if tensor.startswith(name)
            }
            part.load_state_dict(own)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} does not hold a whole decoder: {error}") from error
    return Pair(*(part.eval().requires_grad_(False) for part in pair))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
