"""A step that went wrong, kept whole so that it can be repeated: weights, moments, observations and masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldjepa.data.views import joined, rows
from worldjepa.errors import Unsaved, UserError
from worldjepa.jepa import JEPA
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model
from worldjepa.train.gradient import Gradient
from worldjepa.train.optim import build_optimizer
from worldjepa.train.settings import OptimSettings, RunSettings
from worldjepa.train.stream import Batches, Order
from worldjepa.train.team import Team
from worldjepa.types import Batch, Masks, Tokens


class Job(Protocol):
    """What `dump` needs to know of a run."""

    @property
    def team(self) -> Team:
        """The processes."""

    @property
    def model(self) -> JEPA:
        """The model."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser."""

    @property
    def config_yaml(self) -> str:
        """The configuration."""


def dump(
    out: Path,
    step: int,
    job: Job,
    batches: Batches,
    memory: Mapping[str, Any],
    obs: list[Batch],
    masks: list[Masks],
    terms: dict[str, Tensor],
) -> Path:
    """Keep a step below `out` and return the folder; every process adds its batch.

    Args:
        out: the run folder.
        step: the step, 0-based.
        job: model, optimiser and configuration as they were before the step.
        batches: which rows of the masks are this process's.
        memory: the state of the `Gradient`.
        obs: this process's observations.
        masks: of the global batch.
        terms: of this process's loss, as they came out.

    Raises:
        Unsaved: the disk does not take it.
    """
    team = job.team
    shards = team.size if team.sharded else 1
    told = {str(rank): found for rank, found in enumerate(team.gather({k: float(v).hex() for k, v in terms.items()}))}
    path = out / "replay" / checkpoint.name_of(step)
    if team.leads or team.sharded:
        tensors = checkpoint.snapshot(job.model, job.optimizer, copy=False)
        state = {"terms": told, "memory": dict(memory)}
        checkpoint.write(out / "replay", step, tensors, state, job.config_yaml, team.rank, shards)
    team.fabric.barrier()
    whole = joined(obs)
    assert isinstance(whole.obs, Tensor)
    batch = {
        "obs": whole.obs,
        **({} if whole.cond is None else {f"cond/{k}": v for k, v in whole.cond._asdict().items()}),
    }
    for index, mask in enumerate(masks):
        for kind, value in mask._asdict().items():
            rows = [value[batches.rows(part).start : batches.rows(part).stop] for part in range(len(obs))]
            batch[f"{kind}/{index}"] = torch.cat(rows)
    try:
        save_file(batch, path / file_of(team.rank))
    except OSError as error:
        raise Unsaved(f"{path / file_of(team.rank)} could not be written: {error}") from error
    team.fabric.barrier()
    return path


def file_of(rank: int) -> str:
    """The name of a process's batch."""
    return f"batch-{rank:05d}.safetensors"


class Replayed(NamedTuple):
    """What came of repeating a step."""

    before: dict[str, float]
    """The terms of the loss as the run had them."""
    now: dict[str, float]
    culprit: str | None
    """The first module whose output is not finite."""
    gradients: list[str]
    """Parameters whose gradient is not finite."""


def replay(path: Path, config: DictConfig, run: RunSettings, rank: int = 0) -> Replayed:
    """Repeat the forward and backward passes of a step that was kept.

    Args:
        path: the folder that `dump` made.
        config: its configuration, which has been checked.
        run: batch size, accumulation, precision and accelerator.
        rank: of which process.

    Raises:
        UserError: the folder is damaged or holds no batch of that process.
    """
    folder = checkpoint.locate(path)
    file = folder / file_of(rank)
    if not file.is_file():
        raise UserError(f"{folder} holds no {file.name}: is it a folder below replay/, and is rank={rank} right?")
    state = checkpoint.read_state(folder)
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1)
    checkpoint.load_model(folder, model)
    wrapped = fabric.setup_module(model)
    build_optimizer(model, OptimSettings())  # the same parameters take part
    batch = load_file(file)
    count = sum(name.startswith("context/") for name in batch)
    masks = [Masks(batch[f"context/{index}"], batch[f"target/{index}"]) for index in range(count)]
    order = Batches(Order(len(batch["obs"]), 0), range(1), run.batch_size, run.accumulate)
    gradient = Gradient(Team(fabric), wrapped, model, order, run, print)
    gradient.restore(state["memory"])
    culprits: list[str] = []
    hooks = [
        module.register_forward_hook(lambda _, __, result, name=name: _look(name, result, culprits))
        for name, module in model.named_modules()
    ]
    cond = Tokens(*(batch[f"cond/{field}"] for field in Tokens._fields)) if "cond/x" in batch else None
    whole = Batch(batch["obs"], [], cond)
    starts = range(0, len(batch["obs"]), run.batch_size)
    terms = gradient.compute([rows(whole, slice(start, start + run.batch_size)) for start in starts], masks)
    for hook in hooks:
        hook.remove()
    bad = [name for name, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    before = {name: float.fromhex(value) for name, value in state["terms"][str(rank)].items()}
    return Replayed(before, {name: float(value) for name, value in terms.items()}, next(iter(culprits), None), bad)


def _look(name: str, result: object, culprits: list[str]) -> None:
    tensors = result if isinstance(result, (tuple, list)) else [result]
    if any(isinstance(one, Tensor) and one.is_floating_point() and not torch.isfinite(one).all() for one in tensors):
        culprits.append(name or nn.Module.__name__)
