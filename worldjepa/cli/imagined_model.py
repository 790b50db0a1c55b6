"""What `worldjepa imagine` is asked for, and what it opens: a model, its data, what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor

from worldjepa.cli.embedding import data_config
from worldjepa.cli.measure import is_empty_run, replace
from worldjepa.cli.validate import settings, validate
from worldjepa.data import DataSource, Observations
from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import batches
from worldjepa.imagine.blocks import Blocks
from worldjepa.imagine.inputs import read_inputs
from worldjepa.imagine.known import spread_over
from worldjepa.imagine.rollouts import Rollouts
from worldjepa.imagine.subject import Imaginable, Part, Subject
from worldjepa.interop import load, runs
from worldjepa.interop.saved import refuse
from worldjepa.interop.sizes import Ask
from worldjepa.jepa import JEPA
from worldjepa.objectives import SmoothL1
from worldjepa.targets import Shared
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.trusted import read_config, restrict
from worldjepa.types import Tokens
from worldjepa.world.model import WorldModel

LEARN, JUDGE, TEST, SHOW = 1, 2, 3, 4
"""What is asked of scenes, and drawn, has a seed of its own for each use."""


@dataclass(frozen=True)
class Wanted:
    """What the words ask for."""

    steps: int = 1600
    batch: int = 16
    examples: int = 4000
    control: int = 300
    samples: int = 4
    denoise: int = 25
    guidance: float = 1.0
    rows: int = 8
    count: int = 256
    train_on: str = "predicted"
    block: float = 0.2
    blocks: int = 2
    future: int = 0
    radius: float = 0.06
    width: int = 32
    decoder: str = "unet"
    seed: int = 0


class Opened(NamedTuple):
    """A frozen model, where it is, and its data."""

    model: JEPA
    source: DataSource
    device: torch.device


def open_model(path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], asked: Ask) -> Opened:
    """The model of a run or of released weights, and its data.

    Raises:
        UserError: it cannot be had, has no predictor, or brings no data and none are named.
    """
    if runs.is_ours(path) or is_empty_run(path):
        folder = checkpoint.locate(path)
        refuse(asked, str(folder))
        config = read_config(folder)
        restrict(config, asked.allow)
        config = replace(config, overrides, config_dirs)
        validate(config)
        device = device_of(config)
        torch.manual_seed(int(config.seed))
        model = build_model(config, 1)
        checkpoint.load_model(folder, model)
    else:
        if not overrides:
            raise UserError(
                f"{path} brings no data with it: give data.root=FOLDER, or data=OPTION (`worldjepa list data`)"
            )
        found = load(path, asked.arch, asked.heads, asked.which, asked.allow)
        if found.predictor is None:
            raise UserError(
                f"{path} holds an encoder only ({found.facts['layout']}): there is no predictor that imagines"
            )
        config = data_config(found, overrides, config_dirs)
        device = device_of(config)
        model = JEPA(found.encoder, found.predictor, Shared(found.encoder, True, True, "all"), SmoothL1())
    return Opened(model.to(device).eval().requires_grad_(False), build_source(config), device)


def device_of(config: DictConfig) -> torch.device:
    """Where the configuration computes; sets the number of threads."""
    run, _, _ = settings(config)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    return Fabric(accelerator=run.accelerator, devices=1).device


def subject_of(model: JEPA, shape: Sequence[int], wanted: Wanted) -> Subject:
    """What of a model's observations is imagined.

    Raises:
        UserError: nothing that can be drawn.
    """
    if isinstance(model.predictor, Dynamics):
        return Rollouts(WorldModel(model.target.released(model.encoder), model.predictor).eval(), shape)
    part = Part(wanted.block, wanted.blocks, wanted.future)
    for module in model.encoder.modules():
        if isinstance(module, Imaginable):
            return module.subject(model, shape, part)
    if part.future:
        raise UserError(
            f"future={part.future}: observations of the shape {tuple(shape)} have no end that could be imagined"
        )
    return Blocks(model, shape, wanted.block, wanted.blocks)


class Shown(NamedTuple):
    """The observations that are drawn."""

    obs: Tensor
    cond: Tokens | None


def shown_of(opened: Opened, observations: Observations, inputs: Sequence[Path], wanted: Wanted) -> Shown:
    """The user's pictures, or some that were held out, or else some of the training.

    Raises:
        UserError: they cannot be read.
    """
    if inputs:
        return Shown(read_inputs(inputs, observations.shape)[: wanted.rows], None)
    if isinstance(opened.model.predictor, Dynamics):
        held_out = observations
    else:
        splits = opened.source.probe()
        held_out = observations if splits is None else splits.test
    batch = next(batches(held_out, spread_over(len(held_out), wanted.rows), wanted.rows), None)
    if batch is None:
        raise UserError(f"none of the observations can be read, beginning with {held_out.name(0)}")
    return Shown(batch.obs, batch.cond)
