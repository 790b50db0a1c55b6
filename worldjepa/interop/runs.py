"""What our trainer leaves: a run folder, of which the newest sound checkpoint is taken, or a checkpoint `step-*` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldjepa.errors import UserError, unknown
from worldjepa.interop import view
from worldjepa.interop.layout import Found, Layout, Part
from worldjepa.interop.saved import below, refuse
from worldjepa.interop.sizes import Ask
from worldjepa.interop.source import Source
from worldjepa.train import checkpoint
from worldjepa.train.trusted import read_config, restrict

NAME = "worldjepa run"
BRANCHES = {"target_encoder": "target.encoder", "encoder": "encoder"}
"""Where the two encoders are in the trained model."""


def matches(source: Source) -> bool:
    """Whether a folder is a checkpoint of the trainer, or holds some."""
    return is_ours(source.path)


def is_ours(path: Path) -> bool:
    """The same of a path."""
    if not path.is_dir():
        return False
    return (
        path.name.startswith("step-")
        or any((path / name).exists() for name in (checkpoint.MANIFEST, "checkpoints"))
        or bool(checkpoint.steps_in(path))
    )


def read(source: Source, ask: Ask) -> Found:
    """Read the encoder that the run would be used with, and its predictor.

    Raises:
        UserError: the checkpoint is damaged, or its configuration names classes that are not ours.
    """
    folder = checkpoint.locate(source.path)
    refuse(ask, str(folder))
    if ask.which not in BRANCHES:
        raise unknown("which", ask.which, BRANCHES)
    saved = read_config(folder)
    restrict(saved, ask.allow)
    config = _plain(saved, folder)
    tensors = checkpoint.model_tensors(folder)
    encoder_node = _node(config, ("arch", "encoder"), folder)
    weights = below(tensors, BRANCHES[ask.which]) or below(tensors, "encoder")  # targets need not have one of their own
    predictor = _node(config, ("predictor",), folder)
    return Found(
        NAME,
        Part(encoder_node, weights),
        Part(predictor, below(tensors, "predictor")),
        _image(config),
        None,
        int(checkpoint.read_state(folder)["step"]),
        view.of_config(config),
    )


def _plain(saved: DictConfig, folder: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], OmegaConf.to_container(saved, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(f"{folder / 'config.yaml'} cannot be resolved: {str(error).splitlines()[0]}") from error


def _node(config: dict[str, Any], keys: tuple[str, ...], folder: Path) -> dict[str, Any]:
    node: Any = config
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{folder / 'config.yaml'} has no {'.'.join(keys)} that could be built")
    return node


def _image(config: dict[str, Any]) -> tuple[int, ...] | None:
    """The data's views, where the configuration names their side; and the length of clips."""
    data = config.get("data")
    size, channels, frames = (
        data.get(key) if isinstance(data, dict) else None for key in ("size", "channels", "frames")
    )
    if type(size) is not int or type(channels) is not int:
        return None
    return (channels, frames, size, size) if type(frames) is int else (channels, size, size)


LAYOUT = Layout(NAME, matches, read)
