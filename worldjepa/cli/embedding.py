"""The work of `worldjepa embed`: the data, the device, the bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worldjepa.cli.compose import compose_config, config_folder
from worldjepa.cli.options import open_library
from worldjepa.cli.validate import settings, validate
from worldjepa.errors import UserError
from worldjepa.evaluate.cached import weights_hash
from worldjepa.evaluate.export import Wanted, write_embeddings
from worldjepa.interop import Pretrained, view
from worldjepa.train.build import build_source
from worldjepa.train.logs import screen_console


def embed_data(
    model: Pretrained, checkpoint: str, overrides: Sequence[str], config_dirs: Sequence[Path], wanted: Wanted
) -> int:
    """Embed what the overrides name and return the exit code.

    Raises:
        UserError: the data cannot be had, do not fit the model, or the folder belongs to other embeddings.
    """
    config = data_config(model, overrides, config_dirs, all_of_it=True)
    run, _, _ = settings(config)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    observations = build_source(config).train()
    model.encoder.grid(observations.shape)  # says in its own words what does not fit
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    encoder = model.encoder.to(fabric.device)
    identity = {
        "checkpoint": str(checkpoint),
        "weights": weights_hash(model.encoder),
        "data": observations.fingerprint(),
    }
    identity["precision"] = run.precision
    console = screen_console()
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("embed", total=len(observations))
        told = write_embeddings(
            encoder,
            observations,
            wanted,
            identity,
            run.batch_size,
            fabric.device,
            fabric.autocast,
            lambda done: bar.update(task, completed=done),
        )
    console.print(told)
    return 0


def data_config(
    model: Pretrained, overrides: Sequence[str], config_dirs: Sequence[Path], all_of_it: bool = False
) -> DictConfig:
    """The configuration of data and run for a model that brings none; views as large as the model was trained on.

    Args:
        model: the model.
        overrides: the user's words.
        config_dirs: more folders with options.
        all_of_it: hold nothing out of a folder.

    Raises:
        UserError: a word is wrong.
    """
    overrides = [*modality_of(model, overrides, config_dirs), *overrides]
    chosen = compose_config("train", overrides, config_dirs).config
    given = {word.partition("=")[0].lstrip("+") for word in overrides}
    # A preset for one's own data trains in mixed precision; what is read out of released weights should be exact.
    implied: dict[str, object] = {"run.precision": "32-true"}
    if all_of_it:
        implied["data.holdout"] = 0
    implied |= as_seen(model, chosen)
    more = [
        f"{key}={'null' if value is None else value}"
        for key, value in implied.items()
        if key not in given and has(chosen, key)
    ]
    config = compose_config("train", [*overrides, *more], config_dirs).config
    validate(config)
    if not isinstance(config, DictConfig):
        raise UserError("the configuration holds no keys")
    return config


def as_seen(model: Pretrained, config: DictConfig) -> dict[str, object]:
    """The keys of `data` that let observations be as large as those that the model was trained on."""
    image, seen = model.facts["image"], model.facts["view"]
    ours = view.named({"modality": OmegaConf.to_container(config.modality, resolve=False)})
    found: dict[str, object] = {f"data.{name}": value for name, value in seen.items() if name in ours}
    if not seen and image is not None:
        channels, *frames, height, width = image
        found |= {"data.channels": channels, **({"data.size": height} if height == width else {})}
        found |= {"data.frames": frames[0]} if frames else {}
    return found


def has(config: DictConfig, key: str) -> bool:
    """Whether a configuration has a key, be its value null."""
    group, _, name = key.rpartition(".")
    return name in OmegaConf.select(config, group)


def modality_of(model: Pretrained, overrides: Sequence[str], config_dirs: Sequence[Path]) -> list[str]:
    """The word that chooses the modality whose tokenizer the model has, unless the data are chosen and bring theirs along."""
    if any(word.startswith(("data=", "modality=")) for word in overrides):
        return []
    tokenizer = model.facts["encoder"].get("tokenizer")
    target = tokenizer.get("_target_") if isinstance(tokenizer, Mapping) else None
    for name, file in open_library(config_folder(), config_dirs).groups().get("modality", {}).items():
        if target is not None and target == OmegaConf.select(OmegaConf.load(file), "tokenizer._target_"):
            return [f"modality={name}"]
    return []
