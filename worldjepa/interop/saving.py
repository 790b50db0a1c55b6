"""`worldjepa.save`: a model into a folder that `worldjepa.load` reads back exactly."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from worldjepa.errors import Unsaved, UserError
from worldjepa.interop.model import Pretrained
from worldjepa.interop.saved import FORMAT, VERSION
from worldjepa.interop.source import CONFIG

WEIGHTS = "model.safetensors"


def save(model: Pretrained, folder: str | Path) -> Path:
    """Write `config.json` and `model.safetensors`, and return the folder.

    Args:
        model: what `worldjepa.load` returned, as it came or fine-tuned.
        folder: a new or empty folder.

    Raises:
        UserError: the folder is a file or holds something.
        Unsaved: the disk does not take it.
    """
    kept = ("encoder", "predictor", "image", "licence", "steps", "view")
    config = {"format": FORMAT, "version": VERSION, **{key: model.facts[key] for key in kept}}
    return write_folder(Path(folder), config, model.state_dict())


def write_folder(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> Path:
    """Write a configuration and weights beside the final place, and rename: whatever has the final name is whole.

    Raises:
        UserError: the folder is a file or holds something.
        Unsaved: the disk does not take it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: choose a new or empty folder")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, aside / WEIGHTS, metadata
        )
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in aside.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        aside.replace(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise Unsaved(f"{folder} could not be written: {error}") from error
    return folder
