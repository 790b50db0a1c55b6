"""What pictures are drawn of: checkpoints, configurations and released weights, with their data and how those are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from worldjepa.cli.compose import compose_config
from worldjepa.cli.depicting import depiction_of
from worldjepa.cli.embedding import data_config
from worldjepa.cli.measure import is_empty_run, released, replace
from worldjepa.cli.own import ask
from worldjepa.cli.validate import settings, validate
from worldjepa.cli.visualize import Asked
from worldjepa.data import DataSource, Observations
from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder
from worldjepa.interop import load, runs
from worldjepa.interop.saved import refuse
from worldjepa.jepa import JEPA
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source, construct
from worldjepa.train.settings import RunSettings
from worldjepa.train.trusted import read_config, restrict
from worldjepa.visual.depiction import Depiction

MOST = 6
"""Checkpoints of a run folder that are shown, spread evenly; the last is always one."""


@dataclass(frozen=True)
class Opened:
    """A configuration with its data and how they are drawn."""

    config: DictConfig
    source: DataSource
    observations: Observations
    depiction: Depiction

    @property
    def run(self) -> RunSettings:
        """The settings of the group `run`."""
        return settings(self.config)[0]

    def blank(self) -> Encoder:
        """An encoder without weights, which knows its lattice: a large one would take a while to be initialised for nothing."""
        with torch.device("meta"):
            encoder: Encoder = construct(self.config.arch.encoder, Encoder)
        return encoder


def open_run(asked: Asked) -> tuple[Opened, JEPA]:
    """A run with its model as it was trained, predictor and all.

    Raises:
        UserError: it is no run of ours, damaged, or names classes that are not allowed.
    """
    folder = _folder(asked)
    opened = _with_data(_config(folder, asked), asked)
    return opened, _model(opened.config, folder)


def open_masks(asked: Asked) -> Opened:
    """What masks are drawn of: a run without its weights, or what the words compose.

    Raises:
        UserError: as `open_run`; or a word is wrong, or the data are not there.
    """
    if asked.paths:
        return _with_data(_config(_folder(asked), asked), asked)
    config = compose_config("train", asked.overrides, asked.config_dirs).config
    validate(config)
    return _with_data(config, asked)


def _folder(asked: Asked) -> Path:
    """The one checkpoint of a run of ours.

    Raises:
        UserError: it is none.
    """
    (path,) = asked.paths
    if not runs.is_ours(path) and not is_empty_run(path):
        raise UserError(
            f"{path} is no run of `worldjepa train`: {asked.kind} needs its configuration, predictor and masks, and released "
            "weights bring an encoder"
        )
    return checkpoint.locate(path)


def open_encoders(asked: Asked) -> tuple[Opened, dict[str, Encoder]]:
    """The encoders of all checkpoints by a name, the last one last, and the data of the last.

    Raises:
        UserError: something cannot be opened.
    """
    *_, last = asked.paths
    if not runs.is_ours(last) and not is_empty_run(last):
        return _open_released(asked)
    folders = [folder for path in asked.paths for folder in _folders(path, asked.kind)]
    if len(set(folders)) < len(folders):
        raise UserError("the same checkpoint is given twice")
    opened = _with_data(_config(folders[-1], asked), asked)
    names = [str(checkpoint.read_state(folder)["step"]) for folder in folders]
    encoders: dict[str, Encoder] = {}
    for folder, step in zip(folders, names, strict=True):
        name = f"step {step}" if names.count(step) == 1 else f"step {step} of {folder.absolute().parent.parent}"
        model = _model(_config(folder, asked), folder)
        encoders[name] = released(model).eval().requires_grad_(False)
    return opened, encoders


def _open_released(asked: Asked) -> tuple[Opened, dict[str, Encoder]]:
    if len(asked.paths) > 1:
        raise UserError(f"{asked.paths[-1]} is no run of `worldjepa train`: of released weights one is shown at a time")
    if not any(word.partition("=")[0].split(".")[0] == "data" for word in asked.overrides):
        raise UserError(
            f"{asked.paths[0]} brings no data with it: give data.root=FOLDER, or data=OPTION (`worldjepa list data`)"
        )
    said = ask(asked.own)
    model = load(asked.own["checkpoint"].strip("[]"), said.arch, said.heads, said.which, said.allow)
    opened = _with_data(data_config(model, asked.overrides, asked.config_dirs, all_of_it=True), asked)
    model.encoder.grid(opened.observations.shape)  # says in its own words what does not fit
    return opened, {str(model.facts["layout"]): model.encoder.eval().requires_grad_(False)}


def _folders(path: Path, kind: str) -> list[Path]:
    """The checkpoints that a path means: itself, the newest of a run, or for pca all of it."""
    if kind != "pca" or path.name.startswith("step-"):
        return [checkpoint.locate(path)]
    last = checkpoint.locate(path)
    every = [folder for folder in checkpoint.steps_in(last.parent) if folder.name <= last.name]
    sound = [folder for folder in every if checkpoint.damage(folder) is None]
    count = min(MOST, len(sound))
    return (
        [sound[round(place * (len(sound) - 1) / max(1, count - 1))] for place in range(count)] if count > 1 else sound
    )


def _config(folder: Path, asked: Asked) -> DictConfig:
    said = ask(asked.own)
    refuse(said, str(folder))
    if said.which != "target_encoder":
        raise UserError(f"which={said.which}: of a run the encoder that it is used with is shown; leave which out")
    saved = read_config(folder)
    restrict(saved, said.allow)
    config = replace(saved, asked.overrides, asked.config_dirs)
    validate(config)
    return config


def _model(config: DictConfig, folder: Path) -> JEPA:
    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1)
    checkpoint.load_model(folder, model)
    return model.eval().requires_grad_(False)


def _with_data(config: DictConfig, asked: Asked) -> Opened:
    source = build_source(config)
    return Opened(config, source, source.train(), depiction_of(config, asked.config_dirs))
