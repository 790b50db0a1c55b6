"""The training run, from top to bottom: build, go on from a checkpoint if there is one, step, measure, save."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import subset
from worldjepa.evaluate.judge import Judge, Scores, alarm, prediction, table
from worldjepa.interfaces import MaskSampler
from worldjepa.jepa import JEPA
from worldjepa.nn.blocks import Block, Transformer
from worldjepa.train import checkpoint, folder, logs
from worldjepa.train.build import build_model, build_sampler, build_source
from worldjepa.train.optim import build_optimizer, set_schedules
from worldjepa.train.schedules import Plan, plan
from worldjepa.train.settings import OptimSettings, ProbeSettings, RunSettings
from worldjepa.train.stream import Batches, Order, generator, loader
from worldjepa.types import Batch, Grid, Masks

NOT_FINITE = 76
"""Exit code of a run whose loss is no longer a finite number."""


def train(
    config: DictConfig,
    run: RunSettings,
    optim: OptimSettings,
    probe: ProbeSettings,
    overrides: list[str],
    notes: list[str],
) -> int:
    """Train what `config` describes and return the exit code.

    Args:
        config: the composed and validated configuration.
        run: how long, where and how.
        optim: the optimiser and its schedules.
        probe: what to measure on the way.
        overrides: what the user asked for, to be kept in the run folder.
        notes: choices made for the user, to be shown.

    Raises:
        UserError: something asked for cannot be had. Nothing is written before the first step can be taken.
    """
    logs.check_loggers(run)
    out, start, found = folder.choose(run)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    if run.deterministic:
        torch.use_deterministic_algorithms(True)
    fabric = launch(run, out)
    out = Path(fabric.broadcast(str(out)))
    seed = int(config.seed)

    source = build_source(config)
    observations = source.train()
    schedule = plan(run, optim, len(observations), fabric.world_size)
    sampler = build_sampler(config)
    torch.manual_seed(seed)  # the same weights on every process
    model = build_model(config, schedule.schedule)
    grid = model.encoder.grid(observations.shape)
    draw_masks(sampler, grid, schedule.global_batch, seed, 0)  # an impossible setting stops here
    prepare(model, run)
    optimizer = build_optimizer(model, optim)
    wrapped, stepper = fabric.setup(model, optimizer)

    identity = {"seed": seed, "global_batch": schedule.global_batch, "data": observations.fingerprint()}
    first = 0 if start is None else resume(start, model, optimizer, identity)
    if first >= schedule.steps:
        raise UserError(f"checkpoint {start} has taken {first} steps already; raise run.steps (now {schedule.steps})")

    splits = source.probe() if probe.enabled else None
    judge = Judge(probe, splits, observations, fabric.device, fabric.autocast)
    trial = Trial(observations, sampler, grid, seed)

    config_yaml = OmegaConf.to_yaml(config, resolve=True)
    screen = logs.Screen(schedule.steps, first, logs.screen_console(), fabric.is_global_zero)
    loggers: list[logs.Logger] = []
    if fabric.is_global_zero:
        folder.start(out, config_yaml, overrides)
        logs.cut_after(out, first)
        loggers = logs.open_loggers(run, out, json.loads(json.dumps(OmegaConf.to_container(config, resolve=True))))
    screen.say(*notes, *found, *introduction(out, first, observations, model, grid, schedule, run, fabric))

    batches = Batches(
        Order(len(observations), seed),
        range(first, schedule.steps),
        run.batch_size,
        run.accumulate,
        fabric.global_rank,
        fabric.world_size,
    )
    data = iter(loader(observations, batches, seed, workers(run, observations), pin=fabric.device.type == "cuda"))
    monitor = Monitor(judge, probe, model, trial, out, loggers, screen, fabric)
    monitor.begin(first)

    window = Window(first, schedule, run)
    code = 0
    for step in range(first, schedule.steps):
        lr, decay = set_schedules(optimizer, schedule, step)
        masks = draw_masks(sampler, grid, schedule.global_batch, seed, step)
        stepper.zero_grad()
        for part in range(run.accumulate):
            with window.waiting():
                obs = fabric.to_device(next(data))
            rows = batches.rows(part)
            mine = [Masks(*(fabric.to_device(index[rows.start : rows.stop]) for index in mask)) for mask in masks]
            with fabric.no_backward_sync(wrapped, enabled=part < run.accumulate - 1):
                terms = wrapped(Batch(obs, mine))
                fabric.backward(total(terms) / run.accumulate)
            window.add(terms)
        norm = gradient_norm(fabric, wrapped, stepper, run)
        stepper.step()
        moved = model.target.update(model.encoder, step)

        done = step + 1
        last = done == schedule.steps
        screen.advance()
        window.step(norm)
        measures = last or bool(run.eval_every and done % run.eval_every == 0)
        saves = last or bool(run.save_every and done % run.save_every == 0)
        if last or done % run.log_every == 0 or ((measures or saves) and not window.finite(fabric)):
            row = window.flush(done, lr, decay, moved, masks, fabric)
            logs.write_all(loggers, done, row)
            screen.report(done, row, window.seconds_left)
            if not math.isfinite(row["train/loss"]):
                screen.say(f"the loss is {row['train/loss']} after step {done}; lower optim.lr or set run.clip_norm")
                code = NOT_FINITE
                break
        if measures:
            with window.paused():
                monitor.measure(done)
        if saves:
            with window.paused():
                if fabric.is_global_zero:
                    checkpoint.save(out / "checkpoints", done, model, optimizer, identity, config_yaml)
                    checkpoint.prune(out / "checkpoints", run.keep)
                fabric.barrier()
    screen.close()
    if code == 0:
        monitor.conclude(schedule.steps, window.trained_seconds)
    for logger in loggers:
        logger.close()
    return code


def launch(run: RunSettings, out: Path) -> Fabric:
    """Start the processes that the settings ask for; those started by us learn the run folder from the environment."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # our own lines say which precision is used
    try:
        fabric = Fabric(
            accelerator=run.accelerator,
            devices=run.devices,
            num_nodes=run.num_nodes,
            strategy=run.strategy,
            precision=run.precision,
        )
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        # Fabric checks these five against one another and against the machine; its own words say what is wrong.
        raise UserError(f"Lightning Fabric refuses the run settings: {error}") from error
    if "LT_CLI_USED" not in os.environ:
        mine = folder.RUN_DIR not in os.environ
        if mine:
            os.environ[folder.RUN_DIR] = str(out)
        try:
            fabric.launch()
        finally:
            if mine:
                del os.environ[folder.RUN_DIR]
    return fabric


def draw_masks(sampler: MaskSampler, grid: Grid, batch: int, seed: int, step: int) -> list[Masks]:
    """The masks of the global batch: a function of (seed, step)."""
    return sampler(grid, batch, generator(seed, "masks", step))


def prepare(model: JEPA, run: RunSettings) -> None:
    """Switch on recomputation and compilation of the transformer blocks, as the settings say."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.checkpointing = run.activation_checkpointing
        if isinstance(module, Block) and run.compile:
            module.compile(dynamic=True)


def workers(run: RunSettings, observations: Observations) -> int:
    """Data worker processes per device: as asked, or none for data in memory and up to 8 otherwise."""
    if run.workers is not None:
        return run.workers
    return 0 if observations.in_memory else min(8, max(1, len(os.sched_getaffinity(0)) - 1))


def total(terms: dict[str, Tensor]) -> Tensor:
    """The loss: the sum of the terms."""
    return torch.stack(list(terms.values())).sum()


def gradient_norm(fabric: Fabric, model: Any, optimizer: Any, run: RunSettings) -> Tensor:
    """Clip if the settings say so; return the norm of the whole gradient before clipping."""
    if run.clip_norm is not None or run.precision == "16-mixed":
        # Fabric undoes the loss scaling of 16-mixed here; an infinite limit only measures.
        limit = math.inf if run.clip_norm is None else run.clip_norm
        norm = fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)
        assert isinstance(norm, Tensor)
        return norm
    return torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])


def resume(path: Path, model: JEPA, optimizer: torch.optim.Optimizer, identity: dict[str, Any]) -> int:
    """Load a checkpoint into model and optimiser; return how many steps it has taken.

    Raises:
        UserError: the run that it belongs to had other data, seed or global batch, or other weights.
    """
    state = checkpoint.read_state(path)
    for key, value in identity.items():
        if state.get(key) != value:
            raise UserError(
                f"checkpoint {path} belongs to a run with {key}={state.get(key)}; this run has {key}={value}"
            )
    checkpoint.load_model(path, model)
    checkpoint.load_optimizer(path, optimizer)
    return int(state["step"])


def introduction(
    out: Path,
    first: int,
    observations: Observations,
    model: JEPA,
    grid: Grid,
    schedule: Plan,
    run: RunSettings,
    fabric: Fabric,
) -> Iterator[str]:
    """Lines that say what is about to happen."""
    yield f"run folder: {out}" + (f" (going on from step {first})" if first else "")
    yield f"data: {len(observations):,} observations of {tuple(observations.shape)}, {grid.size} tokens {tuple(grid)}"
    sizes = [
        f"{name} {sum(p.numel() for p in part.parameters()) / 1e6:.2f}M"
        for name, part in (("encoder", model.encoder), ("predictor", model.predictor))
    ]
    yield f"model: {', '.join(sizes)}; {fabric.device}, {run.precision}, {torch.get_num_threads()} threads"
    yield (
        f"steps: {schedule.steps} ({schedule.epoch(schedule.steps):.1f} epochs), global batch {schedule.global_batch} = "
        f"{run.batch_size} per device x {run.accumulate} accumulated x {fabric.world_size} processes"
    )


@dataclass
class Window:
    """What happened since the last row of the log. Tensors stay on their device until a row is due."""

    first: int
    schedule: Plan
    run: RunSettings
    terms: dict[str, Tensor] = field(default_factory=dict)
    norms: list[Tensor] = field(default_factory=list)
    waited: float = 0.0
    trained_seconds: float = 0.0
    seconds_left: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def waiting(self) -> Stopwatch:
        """A context whose time counts as waiting for data."""
        return Stopwatch(self, "waited")

    def paused(self) -> Stopwatch:
        """A context whose time does not count as training."""
        return Stopwatch(self, "began")

    def add(self, terms: dict[str, Tensor]) -> None:
        """One forward pass."""
        for name, value in terms.items():
            value = value.detach()
            self.terms[name] = self.terms[name] + value if name in self.terms else value

    def step(self, norm: Tensor) -> None:
        """One optimiser step."""
        self.norms.append(norm.detach())

    def finite(self, fabric: Fabric) -> bool:
        """Whether the losses since the last row were numbers, on every process."""
        loss: Tensor = fabric.all_reduce(total(self.terms), reduce_op="mean")  # type: ignore[assignment]
        return math.isfinite(loss)

    def flush(
        self, done: int, lr: float, decay: float, moved: dict[str, float], masks: list[Masks], fabric: Fabric
    ) -> dict[str, float]:
        """The row for the log after `done` steps; starts the next window."""
        steps = len(self.norms)
        passes = steps * self.run.accumulate
        terms = {
            f"train/{name}": float(fabric.all_reduce(value / passes, reduce_op="mean"))  # type: ignore[arg-type]
            for name, value in self.terms.items()
        }
        norm = float(torch.stack(self.norms).mean())
        seconds = time.perf_counter() - self.began
        self.trained_seconds += seconds
        taken = done - self.first
        self.seconds_left = self.trained_seconds / taken * (self.schedule.steps - done)
        row = {
            "train/loss": sum(terms.values()),
            **terms,
            "train/lr": lr,
            "train/wd": decay,
            **{f"train/{name}": value for name, value in moved.items()},
            "train/grad_norm": norm,
            "train/epoch": self.schedule.epoch(done),
            "train/context_tokens": float(sum(mask.context.shape[-1] for mask in masks)),
            "train/target_tokens": float(sum(mask.target.shape[-1] for mask in masks)),
            "time/step": seconds / steps,
            "time/data_percent": 100 * self.waited / seconds,
            "perf/samples_per_s": steps * self.schedule.global_batch / seconds,
            "system/memory_gb": memory_gb(fabric.device),
        }
        self.terms, self.norms, self.waited, self.began = {}, [], 0.0, time.perf_counter()
        return row


class Stopwatch:
    """Adds the time spent in a `with` block to a field of a window."""

    def __init__(self, window: Window, name: str) -> None:
        self.window = window
        self.name = name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        spent = time.perf_counter() - self.start
        setattr(self.window, self.name, getattr(self.window, self.name) + spent)


def memory_gb(device: torch.device) -> float:
    """Peak memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)  # macOS counts bytes, Linux kilobytes


class Trial:
    """A fixed batch of observations and masks on which the predictor is held against predicting the mean."""

    SAMPLES = 64

    def __init__(self, observations: Observations, sampler: MaskSampler, grid: Grid, seed: int) -> None:
        indices = subset(observations, self.SAMPLES)
        self.obs = torch.stack([observations.observe(index) for index in indices])
        self.masks = sampler(grid, len(indices), generator(seed, "trial"))

    def run(self, model: JEPA, fabric: Fabric) -> Scores:
        """See `worldjepa.evaluate.judge.prediction`."""
        with fabric.autocast():
            return prediction(model, fabric.to_device(self.obs), fabric.to_device(self.masks))


class Monitor:
    """Measures the encoder on the way, beside its baselines, and sounds the alarm. Only the first process works."""

    def __init__(
        self,
        judge: Judge,
        settings: ProbeSettings,
        model: JEPA,
        trial: Trial,
        out: Path,
        loggers: list[logs.Logger],
        screen: logs.Screen,
        fabric: Fabric,
    ) -> None:
        self.judge = judge
        self.settings = settings
        self.model = model
        self.trial = trial
        self.out = out
        self.loggers = loggers
        self.screen = screen
        self.fabric = fabric
        self.baselines: dict[str, Scores] = {}
        self.latest: Scores = {}
        self.alarmed = False

    def begin(self, first: int) -> None:
        """Measure the baselines before the first step, or read them back when going on."""
        file = self.out / "baselines.json"
        if self.fabric.is_global_zero:
            if first and file.exists():
                self.baselines = json.loads(file.read_text())
            elif not first:
                self.baselines = {"chance": self.judge.chance(), "raw input": self.judge.raw_input()}
                self._measure(0)
                self.baselines["untrained encoder"] = self.latest
                folder.write_json(file, self.baselines)
        self.fabric.barrier()

    def measure(self, done: int) -> None:
        """Probes, rank and spread after `done` steps."""
        if self.fabric.is_global_zero:
            self._measure(done)
        self.fabric.barrier()

    def _measure(self, done: int) -> None:
        encoder = self.model.target.released(self.model.encoder)
        self.latest = {**self.judge.encoder(encoder), **self.trial.run(self.model, self.fabric)}
        logs.write_all(self.loggers, done, self.latest)
        told = "  ".join(f"{name.split('/', 1)[1]} {value:.3g}" for name, value in self.latest.items())
        self.screen.say(f"evaluation after step {done}: {told}")
        self._watch()

    def _watch(self) -> None:
        untrained = self.baselines.get("untrained encoder")
        if untrained is None or self.settings.on_alarm == "ignore":
            return
        advice = alarm(self.latest, untrained)
        if advice is not None:
            self.screen.say(advice)
        self.alarmed = advice is not None

    def conclude(self, steps: int, seconds: float) -> None:
        """Show and keep the final table."""
        if not self.fabric.is_global_zero:
            return
        rows = {**self.baselines, f"trained encoder ({steps} steps)": self.latest}
        self.screen.say(table({name: scores for name, scores in rows.items() if scores}))
        folder.write_json(
            self.out / "report.json",
            {"steps": steps, "trained_seconds": seconds, "baselines": self.baselines, "trained": self.latest},
        )
        self.screen.say(f"trained for {seconds:.0f} s; everything is in {self.out}")
