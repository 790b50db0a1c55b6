"""The work of `worldjepa eval`: rebuild what a checkpoint holds and measure it beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from worldjepa.cli.compose import compose_config
from worldjepa.cli.schema import locate
from worldjepa.cli.validate import settings, validate
from worldjepa.data import DataSource
from worldjepa.errors import UserError
from worldjepa.evaluate.judge import Judge, Scores, table
from worldjepa.interfaces import Encoder, MaskSampler
from worldjepa.jepa import JEPA
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console

MOST_CONFIG = 1 << 20
"""Bytes of configuration that are read at most."""

TRUSTED = ("worldjepa.", "modalities.", "torch.")
"""Where the classes come from that a checkpoint's configuration may construct, unless the user allows more."""

PARTS = (nn.Module, MaskSampler, DataSource)
"""And what they are."""


def evaluate(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], out: Path | None, allow: Sequence[str] = ()
) -> int:
    """Print the table of a checkpoint and write it as JSON if asked to.

    Args:
        path: a checkpoint or a run folder.
        overrides: `data`, `probe` and `run` words that replace what the checkpoint says.
        config_dirs: further folders with options.
        out: where to write the numbers.
        allow: prefixes of classes that the checkpoint's configuration may construct besides our own.

    Raises:
        UserError: the checkpoint is damaged, does not fit, or names classes that are not allowed.
    """
    folder = checkpoint.locate(path)
    saved = read_config(folder)
    restrict(saved, allow)
    config = replace(saved, overrides, config_dirs)
    validate(config)
    run, _, probe = settings(config)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    source = build_source(config)
    judge = Judge(probe, source.probe(), source.train(), fabric.device, fabric.autocast)

    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1).to(fabric.device)
    rows: dict[str, Scores] = {"chance": judge.chance(), "raw input": judge.raw_input()}
    rows["untrained encoder"] = judge.encoder(released(model))
    checkpoint.load_model(folder, model)
    steps = checkpoint.read_state(folder)["step"]
    rows[f"trained encoder ({steps} steps)"] = judge.encoder(released(model))
    screen_console().print(table({name: scores for name, scores in rows.items() if scores}, title=str(folder)))
    if out is not None:
        write_json(out, {"checkpoint": str(folder), "steps": steps, "scores": rows})
    return 0


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
        saved = OmegaConf.load(file)
    # What YAML's safe loader and OmegaConf say of text, tags and nesting that they do not accept.
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is not a configuration: {error}") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"{file} is not a configuration: it holds no keys")
    return saved


def released(model: JEPA) -> Encoder:
    """The encoder that a model is used with."""
    return model.target.released(model.encoder)


def replace(saved: DictConfig, overrides: Sequence[str], config_dirs: Sequence[Path]) -> DictConfig:
    """The checkpoint's configuration with the user's words for data, probe and run in place of its own."""
    config = OmegaConf.create(OmegaConf.to_container(saved))
    assert isinstance(config, DictConfig)
    chosen = [word for word in overrides if "." not in word.partition("=")[0]]
    groups = {word.partition("=")[0] for word in chosen}
    inside = {word: word.partition(".")[0] for word in overrides if word not in chosen}
    if groups:
        of_groups = [word for word, group in inside.items() if group in groups]
        composed = compose_config("train", [*chosen, *of_groups], config_dirs).config
        for group in groups:
            config[group] = OmegaConf.create(OmegaConf.to_container(composed[group], resolve=True))
    rest = [word for word, group in inside.items() if group not in groups]
    merged = OmegaConf.merge(config, OmegaConf.from_dotlist(rest))
    assert isinstance(merged, DictConfig)
    return merged


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
