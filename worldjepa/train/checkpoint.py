"""Checkpoints: a folder of safetensors and JSON with a manifest, written aside and renamed. No pickle anywhere.

`step-00001200/` holds `model.safetensors`, `optimizer.safetensors`, `state.json`, `config.yaml` and `MANIFEST.json`, which
names the size and sha256 of each of the others and is written last. Which checkpoint is the latest is computed, never stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from worldjepa.errors import UserError

MANIFEST = "MANIFEST.json"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml")


def name_of(step: int) -> str:
    """The folder name of the checkpoint after `step` optimiser steps."""
    return f"step-{step:08d}"


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any], config: str
) -> Path:
    """Write the checkpoint after `step` optimiser steps below `folder` and return its path.

    Everything is written to a temporary folder beside the final one, synced to disk and renamed, so that whatever carries
    the final name is whole.

    Args:
        folder: the run's `checkpoints` folder.
        step: optimiser steps taken.
        model: all its parameters and persistent buffers are saved.
        optimizer: its groups carry `names`, see `worldjepa.train.optim.build_optimizer`.
        state: plain JSON values.
        config: the configuration as YAML.
    """
    final = folder / name_of(step)
    aside = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_contiguous(model.state_dict()), aside / "model.safetensors")
    save_file(_contiguous(optimizer_tensors(optimizer)), aside / "optimizer.safetensors")
    (aside / "state.json").write_text(json.dumps({"step": step, **state}, indent=1))
    (aside / "config.yaml").write_text(config)
    manifest = {name: {"size": (aside / name).stat().st_size, "sha256": _sha256(aside / name)} for name in FILES}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for name in (*FILES, MANIFEST):
        _sync(aside / name)
    _sync(aside)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    _sync(folder)
    return final


def damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint folder, or None if every file is as its manifest says."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    if not isinstance(manifest, dict) or sorted(manifest) != sorted(FILES):
        return f"its {MANIFEST} does not name exactly {', '.join(FILES)}"
    for name, facts in manifest.items():
        file = path / name
        if file.is_symlink() or not file.is_file():
            return f"{name} is missing"
        if not isinstance(facts, dict) or file.stat().st_size != facts.get("size"):
            return f"{name} does not have the size that its manifest says"
        if _sha256(file) != facts.get("sha256"):
            return f"{name} does not have the checksum that its manifest says"
    return None


def steps_in(folder: Path) -> list[Path]:
    """The checkpoint folders in a run's `checkpoints` folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint, and a line on each newer one that is damaged."""
    notes: list[str] = []
    for path in reversed(steps_in(folder)):
        wrong = damage(path)
        if wrong is None:
            return path, notes
        notes.append(f"checkpoint {path} is damaged: {wrong}")
    return None, notes


def locate(path: Path) -> Path:
    """The checkpoint folder that a path means: itself, or the newest of a run folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if (path / MANIFEST).exists() or path.name.startswith("step-"):
        wrong = damage(path)
        if wrong is not None:
            raise UserError(f"checkpoint {path} is damaged: {wrong}")
        return path
    for folder in (path / "checkpoints", path):
        found, notes = newest(folder)
        if found is not None:
            return found
        if notes:
            raise UserError("; ".join(notes))
    raise UserError(f"no checkpoint in {path}: expected a run folder with checkpoints/step-*, or one such folder")


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints, and what interrupted writes left behind."""
    for path in steps_in(folder)[:-keep]:
        shutil.rmtree(path)
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover)


def read_state(path: Path) -> dict[str, Any]:
    """The JSON state of a checkpoint."""
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    return state


def load_model(path: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into `model`; every tensor must be there and fit.

    Raises:
        UserError: names of the tensors that are missing, left over or of another shape.
    """
    own = model.state_dict()
    _copy(path / "model.safetensors", own, "model")


def load_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Restore the moments of every parameter, on the parameter's device.

    Raises:
        UserError: names of the tensors that are missing, left over or of another shape.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    _copy(path / "optimizer.safetensors", optimizer_tensors(optimizer), "optimiser")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `NAME/exp_avg` and so on, by the parameters' names."""
    return {
        f"{name}/{key}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


@torch.no_grad()
def _copy(file: Path, own: Mapping[str, Tensor], kind: str) -> None:
    with safe_open(file, framework="pt") as saved:
        names = set(saved.keys())
        missing, extra = sorted(own.keys() - names), sorted(names - own.keys())
        wrong = [
            f"{name} (saved {list(saved.get_slice(name).get_shape())}, here {list(own[name].shape)})"
            for name in sorted(names & own.keys())
            if list(saved.get_slice(name).get_shape()) != list(own[name].shape)
        ]
        if missing or extra or wrong:
            parts = [("missing", missing), ("left over", extra), ("of another shape", wrong)]
            told = "; ".join(f"{len(some)} {what}: {', '.join(some[:5])}" for what, some in parts if some)
            raise UserError(f"{file} does not fit this {kind}: {told}")
        for name, tensor in own.items():
            tensor.copy_(saved.get_tensor(name))


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
