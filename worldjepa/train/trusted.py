"""Configurations that come with a checkpoint: read with limits, and allowed to construct our own parts only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from worldjepa.data import DataSource
from worldjepa.data.views import Views
from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.train.locate import locate

MOST_CONFIG = 1 << 20
"""Bytes of configuration that are read at most."""

TRUSTED = ("worldjepa.", "modalities.", "torch.")
"""Where the classes come from that a checkpoint's configuration may construct, unless the user allows more."""

PARTS = (nn.Module, MaskSampler, DataSource, Views)
"""And what they are."""


def read_config(folder: Path) -> DictConfig:
    """The configuration in a checkpoint.

    Raises:
        UserError: it is not one.
    """
    import yaml  # type: ignore[import-untyped]

    file = folder / "config.yaml"
    if file.stat().st_size > MOST_CONFIG:
        raise UserError(f"{file} has more than {MOST_CONFIG:,} bytes")
    try:
        # Ours hold no references of YAML's own kind, with which a kilobyte can unfold to more than there is memory.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(file.read_text(encoding="utf-8"))):
            raise UserError(f"{file} is not a configuration of ours: it holds YAML aliases")
        saved = OmegaConf.load(file)
    except UserError:
        raise
    # What YAML's safe loader and OmegaConf say of text, tags and nesting that they do not accept.
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is not a configuration: {error}") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"{file} is not a configuration: it holds no keys")
    return saved


def restrict(config: DictConfig, allow: Sequence[str]) -> None:
    """Refuse a configuration that constructs anything but our own parts and what is allowed: to construct is to run code.

    Raises:
        UserError: names the key and the class.
    """
    for key, target in targets(OmegaConf.to_container(config)):
        if not str(target).startswith(tuple(allow)) and not ours(str(target), key):
            raise UserError(
                f"the checkpoint's configuration would construct {target} (at {key}), which is not one of ours; "
                f"if you trust it, say allow={str(target).split('.')[0]}."
            )


def ours(target: str, key: str) -> bool:
    """Whether a target is a part of a model or of its data that is defined where we trust.

    The name alone does not say: `torch.hub.load` runs code of others, and a module has all that it imports as attributes.
    """
    if not target.startswith(TRUSTED):
        return False
    part = locate(target, key)
    return isinstance(part, type) and issubclass(part, PARTS) and part.__module__.startswith(TRUSTED)


def targets(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """All `_target_` values of nested containers with the dotted keys they stand at."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key or "the top level", node["_target_"]
        for name, value in node.items():
            yield from targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{key}.{index}")
