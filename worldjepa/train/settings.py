"""Typed settings that belong to no constructor: the groups `run` and `optim` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worldjepa.evaluate.settings import ProbeSettings

__all__ = ["OptimSettings", "Precision", "ProbeSettings", "RunSettings"]

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]


@dataclass(frozen=True)
class RunSettings:
    """How long, where and how a run goes. Accelerator, devices, strategy and precision are Lightning Fabric's own."""

    out: str | None = None
    """Run folder; by default `outputs/<date>/<time>` under the current folder."""
    steps: int | None = None
    """Optimiser steps. Give this or `epochs`."""
    epochs: float | None = None
    """Passes over the training data. Give this or `steps`."""
    batch_size: int = 64
    """Samples per device and forward pass; the global batch is `batch_size * accumulate * devices * num_nodes`."""
    accumulate: int = 1
    """Forward passes per optimiser step."""
    workers: int | None = None
    """Data worker processes per device; None chooses by the processors at hand, 0 loads in the training process."""
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"] = "auto"
    devices: int | str | list[int] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    """`auto` and `ddp` copy the model to every device, `fsdp` shards it over them; Fabric's other names work too."""
    precision: Precision = "32-true"
    compile: bool = False
    """Compile the transformer blocks with `torch.compile`."""
    activation_checkpointing: bool = False
    """Recompute the blocks' activations in the backward pass instead of keeping them."""
    clip_norm: float | None = None
    """Clip the gradient to this norm; None leaves it alone."""
    threads: int | None = None
    """Processor threads of PyTorch; None keeps its default. A bitwise resume needs the same number."""
    deterministic: bool = False
    """Ask PyTorch for deterministic algorithms (GPU; costs speed)."""
    log_every: int = 20
    """Steps between lines of the log and rows of the metrics files."""
    eval_every: int | None = None
    """Steps between evaluations; None evaluates only before the first and after the last step."""
    save_every: int | None = None
    """Steps between checkpoints; None saves only after the last step, and when a signal stops the run."""
    keep: int = 2
    """How many of the newest checkpoints stay."""
    keep_every: int | None = None
    """Checkpoints at multiples of this many steps stay too."""
    resume: str = "never"
    """`never` refuses a folder that holds a run, `auto` goes on from its newest checkpoint, a path goes on from that one."""
    allow_mismatch: list[str] = field(default_factory=list)
    """Keys that may differ from those of the checkpoint to go on from, such as `optim.lr` or all of `masks`."""
    init_from: str | None = None
    """A run folder, checkpoint or released file of any known layout whose weights a new run starts from; its optimiser, data
    order and step do not matter."""
    requeue: bool = True
    """Under SLURM, SIGUSR1 also puts the job back into the queue."""
    max_bad_steps: int = 10
    """Steps in a row that may be skipped because loss or gradient are not finite. Then the run goes back to its newest
    checkpoint once, and the next time it exits with 76."""
    spike_factor: float = 20.0
    """A gradient norm above this many times the median of the last 64 is a spike."""
    on_spike: Literal["flag", "clip", "skip"] = "flag"
    """Only say so, scale the gradient down to the median norm, or skip the step."""
    data_timeout: float = 60.0
    """Seconds after which a sample counts as hanging."""
    comm_timeout: float = 1800.0
    """Seconds after which a process that does not answer counts as lost; evaluations, which one process makes while the
    others wait, must be shorter."""
    report: bool = True
    """Write `report.html` into the run folder when the run ends, however it ends."""
    tensorboard: bool | None = None
    """Write TensorBoard event files; None does so when TensorBoard is installed."""
    wandb: bool = False
    trackio: bool = False
    project: str = "worldjepa"
    """Project name for W&B and trackio."""


@dataclass(frozen=True)
class OptimSettings:
    """AdamW and its schedules, as in I-JEPA; all are functions of the step."""

    lr: float = 1e-3
    start_lr: float = 2e-4
    final_lr: float = 1e-6
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls from `lr` to `final_lr`."""
    decay_steps: int | None = None
    """Steps of the fall, at the end of the run; `lr` is held until then. By default it begins after the warm-up."""
    warmup_epochs: float | None = None
    """Length of the linear warm-up. Give this, `warmup_steps` or `warmup_share`."""
    warmup_steps: int | None = None
    warmup_share: float | None = None
    """Length of the warm-up as a share of the run."""
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    ema_start: float = 0.996
    """Momentum of the moving-average target at the first step; `target=ema` reads it."""
    ema_end: float = 1.0
    """Its momentum at the end of the schedule, reached linearly."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    ipe_scale: float = 1.0
    """Stretches the schedules beyond the end of the run: they are cut off at `1 / ipe_scale` of their length."""
