"""Our own folder, as `worldjepa.save` writes it: config.json says how to build the parts, model.safetensors fills them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interop.layout import Found, Layout, Part
from worldjepa.interop.sizes import Ask
from worldjepa.interop.source import Source
from worldjepa.interop.view import of_file
from worldjepa.train.trusted import restrict

NAME = "worldjepa"
FORMAT = "worldjepa"
VERSION = 1
PARTS = ("encoder", "predictor")


def matches(source: Source) -> bool:
    """Whether config.json says that we wrote it."""
    return source.config.get("format") == FORMAT


def read(source: Source, ask: Ask) -> Found:
    """Read what was saved.

    Raises:
        UserError: config.json is not ours or names classes that are not, or something is asked for that only files of others
            leave open.
    """
    where, config = str(source.path), source.config
    if config.get("version") != VERSION:
        raise UserError(
            f"{where}: its config.json is of version {str(config.get('version'))[:40]}, this worldjepa reads {VERSION}"
        )
    refuse(ask, where)
    nodes = {name: _node(config, name, where, ask) for name in PARTS}
    if nodes["encoder"] is None:
        raise UserError(f"{where}: its config.json has no 'encoder'")
    tensors = source.tensors()
    stray = [name for name in tensors if name.partition(".")[0] not in PARTS or nodes[name.partition(".")[0]] is None]
    if stray:
        raise UserError(f"{where}: {len(stray)} left over: {', '.join(stray[:8])}")
    encoder = Part(nodes["encoder"], below(tensors, "encoder"))
    predictor = None if nodes["predictor"] is None else Part(nodes["predictor"], below(tensors, "predictor"))
    return Found(
        NAME,
        encoder,
        predictor,
        _image(config, where),
        _text(config.get("licence")),
        _steps(config),
        of_file(config.get("view"), where),
    )


def refuse(ask: Ask, where: str) -> None:
    """Our own checkpoints say all about themselves.

    Raises:
        UserError: the user says it too.
    """
    if ask.arch is not None or ask.heads is not None:
        raise UserError(f"{where} says itself how it is built: leave arch and heads out")


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix` and a dot, without these."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _node(config: Mapping[str, Any], name: str, where: str, ask: Ask) -> dict[str, Any] | None:
    node = config.get(name)
    if node is None:
        return None
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{where}: '{name}' in its config.json must be an object with a _target_")
    try:
        parsed = OmegaConf.create({name: node})
        restrict(parsed, ask.allow)
        plain = OmegaConf.to_container(parsed, resolve=False)
    except (OmegaConfBaseException, RecursionError) as error:
        raise UserError(
            f"{where}: '{name}' in its config.json cannot be read: {str(error).splitlines()[0][:200]}"
        ) from error
    if "${" in str(plain):  # a reference may read files and the environment
        raise UserError(f"{where}: '{name}' in its config.json holds a reference (${{...}}), which is not allowed")
    return node


def _image(config: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    image = config.get("image")
    if image is None:
        return None
    if not (
        isinstance(image, list)
        and len(image) in (3, 4)
        and all(type(side) is int and 0 < side < 1 << 20 for side in image)
    ):
        raise UserError(
            f"{where}: 'image' in its config.json must be three whole numbers, channels, height and width, "
            "or four with the frames of a clip after the channels"
        )
    return tuple(image)


def _text(value: object) -> str | None:
    return None if value is None else " ".join(str(value).split())[:400]


def _steps(config: Mapping[str, Any]) -> int | None:
    steps = config.get("steps")
    return steps if type(steps) is int and steps >= 0 else None


LAYOUT = Layout(NAME, matches, read)
