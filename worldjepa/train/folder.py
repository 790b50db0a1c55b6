"""The run folder: what was asked, what ran it, what came out."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from worldjepa.errors import UserError
from worldjepa.train import checkpoint
from worldjepa.train.settings import RunSettings

OURS = (".lock", ".team")
"""What a starting run puts into its folder before all is checked."""

PACKAGES = ("worldjepa", "torch", "torchvision", "torchaudio", "timm", "lightning-fabric", "hydra-core", "numpy")


def choose(run: RunSettings) -> Path:
    """The run folder that the settings mean."""
    if run.out is not None:
        return Path(run.out)
    return Path("outputs") / datetime.datetime.now().strftime("%Y-%m-%d/%H-%M-%S")


def check(folder: Path, run: RunSettings) -> None:
    """Make sure that a run may write there.

    Raises:
        UserError: the folder is a file, or holds something and `run.resume` does not say to go on.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"run.out={folder} is a file")
    held = (
        []
        if run.resume != "never" or not folder.is_dir()
        else [name for name in os.listdir(folder) if name not in OURS]
    )
    if held:
        raise UserError(f"run.out={folder} is not empty; go on with run.resume=auto, or choose another folder")


def origin(folder: Path, run: RunSettings) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, and what the user should hear about it.

    Raises:
        UserError: `run.resume` names no sound checkpoint, or all of the folder's are damaged.
    """
    if run.resume == "never":
        return None, []
    if run.resume != "auto":
        return checkpoint.locate(Path(run.resume)), []
    found, notes = checkpoint.newest(folder / "checkpoints")
    if found is None and checkpoint.steps_in(folder / "checkpoints"):
        raise UserError("no checkpoint is left to resume from: " + "; ".join(notes))
    return found, notes


def describe(overrides: list[str]) -> dict[str, Any]:
    """What runs this: versions, hardware, command and the git commit of the working folder, where there is one."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "command": sys.argv,
        "overrides": overrides,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": versions,
        "git": git_commit(),
    }


def git_commit() -> str | None:
    """The commit of the code, with `+changes` if the tree differs from it; None outside a checkout or without git."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
        if commit.returncode:
            return None
        status = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def start(folder: Path, config_yaml: str, overrides: list[str]) -> None:
    """Create the folder and write what is known before the first step."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config_yaml)
    write_json(folder / "overrides.json", overrides)
    write_json(folder / "environment.json", describe(overrides))


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON so that the file is never seen half-written."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1) + "\n")
    aside.replace(file)
