"""Checkpoints: a folder of safetensors and JSON with a manifest, written aside and renamed. No pickle anywhere.

`step-00001200/` holds `model.safetensors`, `optimizer.safetensors`, `state.json`, `config.yaml` and `MANIFEST.json`, which
names the size and sha256 of each of the others and is written last. Which checkpoint is the latest is computed, never stored.
Where weights are sharded over n processes, n files stand in place of each of the first two, see `worldjepa.train.tensors`;
whoever reads them may have another number of processes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worldjepa.errors import Unsaved, UserError
from worldjepa.train.tensors import SHARD, Held, Stored, held, shard_name, write_tensors

MANIFEST = "MANIFEST.json"
PLAIN = ("state.json", "config.yaml")
TENSORS = ("model", "optimizer")
SHARDS = ".shards"
"""Ending of the temporary folder that several processes write into."""

MOST_JSON = 64 << 20
"""Bytes of JSON that are read at most."""
SHARD_PATIENCE = 600.0
"""Seconds that the first process waits for the shards of the others."""


class Snapshot(NamedTuple):
    """What is saved of a moment: this process's part of all tensors, by name."""

    model: dict[str, Held]
    optimizer: dict[str, Held]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(one.value.nbytes for part in self for one in part.values())


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer, copy: bool = True) -> Snapshot:
    """All parameters and persistent buffers of `model`, and the optimiser's state.

    Args:
        model: the model.
        optimizer: its groups carry `names`, see `worldjepa.train.optim.build_optimizer`.
        copy: copy the values to memory of their own, on the CPU, so that training may go on while they are written.
    """
    return Snapshot(held(model.state_dict(), copy), held(optimizer_tensors(optimizer), copy))


def name_of(step: int) -> str:
    """The folder name of the checkpoint after `step` optimiser steps."""
    return f"step-{step:08d}"


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any], config: str
) -> Path:
    """Write the checkpoint after `step` optimiser steps below `folder` and return its path; see `write`."""
    return write(folder, step, snapshot(model, optimizer, copy=False), state, config)


def write(
    folder: Path,
    step: int,
    tensors: Snapshot,
    state: Mapping[str, Any],
    config: str,
    rank: int = 0,
    shards: int = 1,
) -> Path:
    """Write a checkpoint below `folder` and return its path.

    Everything is written to a temporary folder beside the final one, synced to disk and renamed, so that whatever carries
    the final name is whole. With several shards every process calls this; the first one waits for the files of the others
    and finishes the work.

    Args:
        folder: the run's `checkpoints` folder.
        step: optimiser steps taken.
        tensors: what this process holds.
        state: plain JSON values.
        config: the configuration as YAML.
        rank: this process.
        shards: over how many processes the tensors are sharded; 1 if every process has them all.

    Raises:
        Unsaved: the disk does not take it; the message names path, bytes and reason.
    """
    final = folder / name_of(step)
    aside = folder / (f".{final.name}{SHARDS}" if shards > 1 else f".{final.name}.{os.getpid()}")
    try:
        _check_space(folder, tensors.size)
        if shards == 1:
            shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True, exist_ok=True)
        facts = {}
        for kind, values in zip(TENSORS, tensors, strict=True):
            file = aside / shard_name(kind, rank, shards)
            write_tensors(file, values, rank, shards)
            facts[file.name] = _synced(file)
        if rank > 0:
            _publish(aside / f"facts-{rank}.json", facts)
            return final
        for other in range(1, shards):
            facts |= _await(aside / f"facts-{other}.json")
        (aside / "state.json").write_text(json.dumps({"step": step, **state}, indent=1, allow_nan=False))
        (aside / "config.yaml").write_text(config)
        facts |= {name: _synced(aside / name) for name in PLAIN}
        (aside / MANIFEST).write_text(json.dumps(facts, indent=1))
        _sync(aside / MANIFEST)
        _sync(aside)
        if final.exists():
            # Only a damaged checkpoint, or one that the run went back behind, is written again. Not deleted in place: one
            # that is half deleted must not stand where a sound one stood.
            final.rename(_doomed(final))
        aside.rename(final)
        _sync(folder)
        shutil.rmtree(_doomed(final), ignore_errors=True)
    except OSError as error:
        if shards == 1:
            shutil.rmtree(aside, ignore_errors=True)
        raise Unsaved(
            f"checkpoint {final} of {tensors.size:,} bytes could not be written: {error.strerror or error}; what was saved "
            "before is untouched. Make room or choose another run.out, then go on with run.resume=auto"
        ) from error
    return final


def check_room(folder: Path, size: int) -> None:
    """Make sure before a run that checkpoints fit on the disk.

    Args:
        folder: where they will be; it need not exist yet.
        size: bytes of one checkpoint.

    Raises:
        UserError: there is room for fewer than two, what replacing one by the next takes.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < 2 * size:
        raise UserError(
            f"run.out={folder.parent}: {free:,} bytes are free, two checkpoints take {2 * size:,}; make room or choose another "
            "folder"
        )


def damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint folder, or None if every file is as its manifest says."""
    try:
        if path.is_symlink():
            return "it is a link"
        manifest = _read_json(path / MANIFEST)
    except UserError as error:
        return f"its {MANIFEST} cannot be read ({error})"
    if not isinstance(manifest, dict) or not _complete(set(manifest)):
        return f"its {MANIFEST} does not name exactly the files of a checkpoint: {', '.join((*TENSORS, *PLAIN))}"
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


def newest(folder: Path, before: int | None = None) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint, and a line on each newer one that is damaged.

    Args:
        folder: the run's `checkpoints` folder.
        before: only checkpoints of at most this many steps.
    """
    notes: list[str] = []
    for path in reversed(steps_in(folder)):
        if before is not None and path.name > name_of(before):
            continue
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


def prune(folder: Path, keep: int, every: int | None = None) -> None:
    """Delete old checkpoints, and what interrupted writes left behind.

    Args:
        folder: the run's `checkpoints` folder.
        keep: how many of the newest stay.
        every: those whose step this divides stay too.
    """
    for path in steps_in(folder)[:-keep]:
        number = re.fullmatch(r"step-(\d+)", path.name)
        if every is None or number is None or int(number[1]) % every:
            # Renamed first: a folder that is half deleted must not look like a damaged checkpoint.
            path.rename(_doomed(path))
    for leftover in folder.glob(".step-*"):
        if not leftover.name.endswith(SHARDS):  # other processes may have begun the next one
            shutil.rmtree(leftover)


def _doomed(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")


def sweep(folder: Path) -> None:
    """Delete what interrupted writes left behind. No process may be writing."""
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover)


def read_state(path: Path) -> dict[str, Any]:
    """The JSON state of a checkpoint.

    Raises:
        UserError: it is not the state of a checkpoint.
    """
    state = _read_json(path / "state.json")
    if not isinstance(state, dict) or not isinstance(state.get("step"), int) or not 0 <= state["step"] < 1 << 53:
        raise UserError(f"{path / 'state.json'} does not say how many steps were taken")
    return state


def load_model(path: Path, model: nn.Module, spare: str | None = None) -> bool:
    """Copy a checkpoint's weights into `model`; every tensor must be there and fit.

    Args:
        path: the checkpoint.
        model: what to fill.
        spare: a part that the checkpoint may lack altogether; it stays as it is then.

    Returns:
        Whether everything was filled.

    Raises:
        UserError: names of the tensors that are missing, left over or of another shape.
    """
    stored, own = _stored(path, "model"), model.state_dict()
    lacking = spare is not None and not any(name.startswith(f"{spare}.") for name in stored.pieces)
    kept = {name: value for name, value in own.items() if not (lacking and name.startswith(f"{spare}."))}
    stored.copy_to(kept)
    return len(kept) == len(own)


def model_tensors(path: Path) -> dict[str, Tensor]:
    """All of a checkpoint's weights by name, shards put together.

    Raises:
        UserError: a file cannot be read, or pieces are missing.
    """
    return _stored(path, "model").values()


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
    _stored(path, "optimizer").copy_to(optimizer_tensors(optimizer))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `NAME/exp_avg` and so on, by the parameters' names."""
    return {
        f"{name}/{key}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _stored(path: Path, kind: str) -> Stored:
    files = sorted(file for file in path.glob(f"{kind}*.safetensors"))
    return Stored(kind, path, files)


def _complete(names: set[str]) -> bool:
    """Whether these are the files of a checkpoint: the plain ones, and all shards of model and optimiser."""
    if not all(isinstance(name, str) for name in names) or not names.issuperset(PLAIN):
        return False
    rest = names - set(PLAIN)
    found = [match for name in rest if (match := SHARD.fullmatch(name)) is not None]
    shards = int(found[0]["shards"] or 1) if found else 1
    return rest == {shard_name(kind, rank, shards) for kind in TENSORS for rank in range(min(shards, len(rest)))}


def _read_json(file: Path) -> Any:
    """Parse a file of JSON.

    Raises:
        UserError: it is no plain file, too large, or no JSON.
    """
    try:
        if not file.is_file():  # a pipe in its place would be waited for
            raise UserError(f"{file} is not a file")
        if file.stat().st_size > MOST_JSON:
            raise UserError(f"{file} has more than {MOST_JSON:,} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    # Deep nesting ends in a RecursionError; bytes that are no text and numbers of too many digits in ValueErrors.
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file}: {type(error).__name__}: {error}") from error


def _check_space(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"only {free:,} bytes are free")


def _publish(file: Path, facts: Mapping[str, Any]) -> None:
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(facts))
    aside.rename(file)


def _await(file: Path) -> dict[str, Any]:
    """The facts on another process's shards, as soon as they are there."""
    until = time.monotonic() + SHARD_PATIENCE
    while not file.exists():
        if time.monotonic() > until:
            raise OSError(errno.ETIMEDOUT, f"{file.name} did not come within {SHARD_PATIENCE:.0f} s")
        time.sleep(0.02)
    facts: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    return facts


def _synced(file: Path) -> dict[str, Any]:
    """Size and checksum of a file that is now on disk."""
    _sync(file)
    return {"size": file.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
