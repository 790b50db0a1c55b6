"""The training run, from top to bottom: build, go on from a checkpoint if there is one, step, measure, save."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from signal import SIGUSR1
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.judge import Judge
from worldjepa.interfaces import MaskSampler
from worldjepa.jepa import JEPA, per_view
from worldjepa.nn.blocks import Block, Transformer
from worldjepa.train import allocator, checkpoint, ending, exits, folder, identity, logs, replay, signals
from worldjepa.train.build import build_model, build_sampler, build_source
from worldjepa.train.feed import Feed
from worldjepa.train.gradient import Gradient, clip, norm_of
from worldjepa.train.guard import Guard, Verdict
from worldjepa.train.lock import RunLock
from worldjepa.train.monitor import Monitor, Trial
from worldjepa.train.optim import build_optimizer, set_schedules
from worldjepa.train.quarantine import FILE, Bad, Quarantine, too_many
from worldjepa.train.schedules import Plan, plan
from worldjepa.train.settings import OptimSettings, ProbeSettings, RunSettings
from worldjepa.train.signals import Stop
from worldjepa.train.stream import Batches, Order, generator
from worldjepa.train.team import Team, Watch, launch
from worldjepa.train.trusted import read_config
from worldjepa.train.window import Window
from worldjepa.train.writer import Writer
from worldjepa.types import Batch, Grid, Masks

if TYPE_CHECKING:
    from worldjepa.train.pictures import Depict


def train(
    config: DictConfig,
    run: RunSettings,
    optim: OptimSettings,
    probe: ProbeSettings,
    overrides: list[str],
    notes: list[str],
    weights: Weights | None = None,
    depict: Depict | None = None,
) -> int:
    """Train what `config` describes and return the exit code, see `worldjepa.train.exits`.

    Args:
        config: the composed and validated configuration.
        run: how long, where and how.
        optim: the optimiser and its schedules.
        probe: what to measure on the way.
        overrides: what the user asked for, to be kept in the run folder.
        notes: choices made for the user, to be shown.
        weights: fills the model from `run.init_from` and returns lines for the user; by default from a checkpoint of ours.
        depict: says how observations are drawn, for the pictures of the report; by default there are none.

    Raises:
        UserError: something asked for cannot be had. Nothing is written before the first step can be taken.
    """
    logs.check_loggers(run)
    out = folder.choose(run)
    folder.check(out, run)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    if run.deterministic:
        torch.use_deterministic_algorithms(True)
    team = Team(launch(run))
    with contextlib.ExitStack() as stack:
        try:
            out = team.lead(partial(claim, out, run, stack))
            watch = stack.enter_context(Watch(team, out / ".team", run.comm_timeout))
            stop = stack.enter_context(Stop(signals.kill_children))
            try:
                job = team.together(partial(prepare, config, run, optim, probe, out, team, weights or own_weights))
                return team.depart(carry_out(job, run, overrides, notes, watch, stop, depict))
            except RuntimeError as error:
                if not watch.failed(error):
                    raise
                watch.post_mortem(error)
        except UserError as error:
            team.disband()
            if team.launched is None or error is not team.shared:
                raise
            return 0  # the first process says it
    raise AssertionError("unreachable")


Weights = Callable[[str, JEPA], list[str]]


def own_weights(path: str, model: JEPA) -> list[str]:
    """Fill a model from a run folder or checkpoint of ours.

    Raises:
        UserError: there is none, or it does not fit.
    """
    origin = checkpoint.locate(Path(path).expanduser())
    whole = checkpoint.load_model(origin, model, spare="above")
    return [
        f"weights from {origin}; {'' if whole else 'the levels and '}everything else begin{'s' if whole else ''} anew"
    ]


def claim(out: Path, run: RunSettings, stack: contextlib.ExitStack) -> Path:
    """Take the run folder for this process, and look again at what is in it now that nobody else can write there."""
    stack.enter_context(RunLock(out))
    folder.check(out, run)
    checkpoint.sweep(out / "checkpoints")
    return out


class Job(NamedTuple):
    """A run that is ready to take its first step. Nothing has been written yet."""

    out: Path
    team: Team
    run: RunSettings
    probe: ProbeSettings
    seed: int
    config_yaml: str
    facts: dict[str, Any]
    schedule: Plan
    observations: Observations
    sampler: MaskSampler
    grid: Grid
    model: JEPA
    wrapped: Any
    optimizer: torch.optim.Optimizer
    stepper: Any
    judge: Judge
    trial: Trial
    most_bad: float
    state: dict[str, Any] | None
    """Of the checkpoint that the run goes on from."""
    notes: list[str]

    @property
    def first(self) -> int:
        """Steps that were taken already."""
        return 0 if self.state is None else int(self.state["step"])


def prepare(
    config: DictConfig,
    run: RunSettings,
    optim: OptimSettings,
    probe: ProbeSettings,
    out: Path,
    team: Team,
    weights: Weights,
) -> Job:
    """Build everything and load the checkpoint that the run goes on from or begins with.

    Raises:
        UserError: something asked for cannot be had, or the checkpoint belongs to another run.
    """
    fabric = team.fabric
    if fabric.device.type == "cpu":
        allocator.keep_freed_memory()
    seed = int(config.seed)
    source = build_source(config)
    observations = source.train()
    schedule = plan(run, optim, len(observations), team.size)
    sampler = build_sampler(config)
    torch.manual_seed(seed)  # the same weights on every process
    model = build_model(config, schedule.schedule, observations)
    grid = model.encoder.grid(observations.shape)
    # An impossible setting stops here.
    draw_masks(sampler.at(0.0), grid, schedule.global_batch, seed, 0, model.views)
    if model.above is not None:
        model.above.check(grid)
    trial = Trial(observations, sampler, grid, seed)
    switch_on(model, run)
    wrapped = fabric.setup_module(model)
    optimizer = build_optimizer(model, optim)
    stepper = fabric.setup_optimizers(optimizer)
    size = 3 * sum(value.nbytes for value in model.parameters() if value.requires_grad)
    team.lead(lambda: checkpoint.check_room(out / "checkpoints", size))

    facts = {
        "config": OmegaConf.to_container(config, resolve=True),
        "seed": seed,
        "global_batch": schedule.global_batch,
        "data_fingerprint": observations.fingerprint(),
        "optimizer_groups": {group["name"]: len(group["names"]) for group in optimizer.param_groups},
    }
    start, notes = team.lead(lambda: folder.origin(out, run))
    state = None
    if start is not None:
        state = checkpoint.read_state(start)
        saved = OmegaConf.to_container(read_config(start), resolve=False)
        notes += identity.check(start, {**state, "config": saved}, facts, run.allow_mismatch)
        checkpoint.load_model(start, model)
        checkpoint.load_optimizer(start, optimizer)
        unreported = start.parent == out / "checkpoints" and not (out / "report.json").exists()
        if state["step"] == schedule.steps and unreported:
            state["measured"] = False  # it was killed between its last checkpoint and its report
        if state["step"] >= schedule.steps and state["measured"]:
            raise UserError(
                f"checkpoint {start} has taken {state['step']} steps already; raise run.steps (now {schedule.steps})"
            )
        notes += other_machine(state.get("machine", {}), machine(team))
    elif run.init_from is not None:
        notes += weights(run.init_from, model)
    elif model.alone:
        raise UserError(
            "levels.alone=true teaches nothing but the levels: run.init_from=RUN must bring what is below them"
        )

    splits = source.probe() if probe.enabled else None
    judge = Judge(probe, splits, observations, fabric.device, fabric.autocast)
    return Job(
        out=out,
        team=team,
        run=run,
        probe=probe,
        seed=seed,
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
        facts={name: value for name, value in facts.items() if name != "config"},
        schedule=schedule,
        observations=observations,
        sampler=sampler,
        grid=grid,
        model=model,
        wrapped=wrapped,
        optimizer=optimizer,
        stepper=stepper,
        judge=judge,
        trial=trial,
        most_bad=source.max_bad_fraction,
        state=state,
        notes=notes,
    )


def carry_out(
    job: Job,
    run: RunSettings,
    overrides: list[str],
    notes: list[str],
    watch: Watch,
    stop: Stop,
    depict: Depict | None = None,
) -> int:
    """Take all steps and return the exit code."""
    team, out = job.team, job.out
    screen = logs.Screen(job.schedule.steps, job.first, logs.screen_console(), team.leads)
    loggers: list[logs.Logger] = []
    if team.leads:
        folder.start(out, job.config_yaml, overrides)
        logs.cut_after(out, job.first)
        loggers = logs.open_loggers(
            run, out, json.loads(json.dumps(OmegaConf.to_container(OmegaConf.create(job.config_yaml))))
        )
    screen.say(*notes, *job.notes, *introduction(job))
    loop = Loop(job, screen, loggers, watch, stop)
    if job.first:
        loop.events.note(job.first, "resumed", "; ".join([f"went on from step {job.first}", *job.notes]))
    try:
        code = loop.carry_out()
        if code == 0 and depict is not None and run.report and job.probe.enabled and team.leads and not team.sharded:
            from worldjepa.train import pictures  # what draws is only loaded where something is drawn

            encoder = job.model.target.released(job.model.encoder)
            pictures.draw(out, encoder, job.sampler.at(1 - 1e-9), job.observations, depict, screen)
        return code
    except Exception as error:
        ending.note(loop.events, loop.done, error)
        raise
    finally:
        screen.close()
        for logger in loggers:
            logger.close()
        if run.report and team.leads:
            ending.show(out, screen)


class Loop:
    """Takes the steps of a job."""

    def __init__(self, job: Job, screen: logs.Screen, loggers: list[logs.Logger], watch: Watch, stop: Stop) -> None:
        self.job = job
        self.team = job.team
        self.screen = screen
        self.loggers = loggers
        self.watch = watch
        self.stop = stop
        run, team = job.run, job.team
        self.events = logs.Events(job.out / logs.EVENTS, screen, team.leads)
        self.guard = Guard(run.max_bad_steps, run.spike_factor, run.on_spike)
        shards = team.size if team.sharded else 1
        self.writer = Writer(job.out / "checkpoints", run.keep, run.keep_every, team.rank, shards)
        self.quarantine = Quarantine(job.out / FILE, len(job.observations), job.most_bad, team.leads)
        self.monitor = Monitor(
            job.judge, job.probe, job.model, job.trial, job.out, loggers, screen, self.events, team, stop
        )
        self.batches = Batches(
            Order(len(job.observations), job.seed),
            range(job.first, job.schedule.steps),
            run.batch_size,
            run.accumulate,
            team.rank,
            team.size,
        )
        self.gradient = Gradient(
            team, job.wrapped, job.model, self.batches, run, lambda line: self.events.tell(self.done, "memory", line)
        )
        self.window = Window(job.first, job.schedule, run)
        self.done = job.first
        """Steps taken, or skipped, so far."""
        self.measured = True
        """Whether everything that was to be measured up to now has been."""
        self.owed = False
        """Whether a checkpoint is due, put off until a step can be taken."""
        self.found: list[Bad] = []
        """Samples of this process that could not be used in the present step."""
        self.moved: dict[str, float] = {}
        self.rolled_back = False
        if job.state is not None:
            self._restore(job.state)

    def carry_out(self) -> int:
        """Take all steps that are left; returns the exit code."""
        job = self.job
        begun = self.monitor.begin(job.first)
        if begun and not self.measured:
            self.measured = begun = self.monitor.measure(self.done)
        code: int | None = None
        if not begun or any(self.team.agree(self.stop.asked)):
            code = self._leave()
        while code is None:
            if self.done < job.schedule.steps:
                with self._feed() as feed:
                    while code is None and self.done < job.schedule.steps:
                        code = self._step(feed)
            if code == ROLL_BACK:
                self._roll_back()
                code = None
            elif code is None:
                code = self._end()
        self.team.together(self.writer.close)
        if code == 0:
            self.monitor.conclude(job.schedule.steps, self.window.trained_seconds)
        elif code == exits.REQUEUE and self.team.leads:
            self._requeue()
        return code

    # --- one step ----------------------------------------------------------------------------------------------------

    def _step(self, feed: Feed) -> int | None:
        job, run, step = self.job, self.job.run, self.done
        rates = set_schedules(job.optimizer, job.schedule, step)
        sampler = job.sampler.at(step / job.schedule.steps)
        masks = draw_masks(sampler, job.grid, job.schedule.global_batch, job.seed, step, job.model.views)
        self.watch.doing = f"waiting for the data of step {step}"
        with self.window.waiting():
            obs = self._fetch(feed)
        if obs is None:
            return self._leave()
        self.watch.doing = f"in forward and backward passes of step {step}"
        terms = self.gradient.compute(obs, masks)
        if run.precision == "16-mixed":  # Fabric undoes the loss scaling here; an infinite limit only measures
            job.team.fabric.clip_gradients(job.wrapped, job.stepper, max_norm=math.inf, error_if_nonfinite=False)
        norm = norm_of(job.model)
        self.watch.doing = f"agreeing on step {step}"
        finite = all(math.isfinite(value) for value in terms.values())
        odd, stopped, news = self.team.agree(not finite, self.stop.asked, bool(self.found))
        self._list_bad(news)
        verdict = self.guard.judge(float(norm), finite=not odd)
        self._take(verdict, norm, step)
        self.window.step(terms if verdict.take else None, float(norm))
        self.done = step + 1
        self.screen.advance()
        if self.guard.given_up:
            return self._give_up(obs, masks, terms)
        code = self._report(rates, masks)
        return self._leave() if code is None and stopped else code

    def _fetch(self, feed: Feed) -> list[Batch] | None:
        """This process's observations for a step, without masks; None if a signal came while they were waited for."""
        alone = self.team.size == 1  # several processes must finish the step together
        obs: list[Batch] = []
        self.found = []
        for _ in range(self.job.run.accumulate):
            loaded = feed.next(stop=lambda: alone and self.stop.asked)
            if loaded is None:
                return None
            self.found += loaded.bad
            if loaded.obs is None:
                raise too_many(self.found, len(self.found), self.job.most_bad, None)
            obs.append(Batch(loaded.obs, [], loaded.cond))
        return obs

    def _list_bad(self, news: bool) -> None:
        if news:
            for found in self.team.gather(self.found):
                self.quarantine.add(found)
            seen = (self.done + 1) * self.job.schedule.global_batch
            self.team.together(lambda: self.quarantine.check(seen))

    def _take(self, verdict: Verdict, norm: Tensor, step: int) -> None:
        """Move weights and target, or leave them as they are."""
        job = self.job
        if verdict.spike is not None:
            done = {"flag": "taken as it is", "clip": "clipped to that", "skip": "skipped"}[job.run.on_spike]
            self.events.tell(
                step, "spike", f"step {step}: gradient norm {float(norm):.3g}, usually {verdict.spike:.3g}; {done}"
            )
        if not verdict.take:
            if verdict.spike is None:
                self.events.tell(step, "skipped", f"step {step}: loss or gradient is not finite; the step is skipped")
            if job.run.precision != "16-mixed":
                return
            # The loss scaling learns from steps like this one; it leaves the weights alone itself.
            job.stepper.step()
            return
        limit = min(job.run.clip_norm or math.inf, verdict.clip or math.inf)
        if limit < math.inf:
            clip(job.model, limit, norm)
        job.stepper.step()
        self.moved = job.model.update(step)

    def _report(self, rates: tuple[float, float], masks: list[Masks]) -> int | None:
        """Log, measure and save what is due."""
        job, run, done = self.job, self.job.run, self.done
        last = done == job.schedule.steps
        if last or done % run.log_every == 0:
            row = self.window.flush(done, rates, self.moved, masks, self.team)
            row |= {"train/skipped": float(self.guard.skipped), "train/spikes": float(self.guard.spikes)}
            logs.write_all(self.loggers, done, row)
            self.screen.report(done, row, self.window.seconds_left)
        if last or (run.eval_every and done % run.eval_every == 0):
            self.measured = False
        if last or (run.save_every and done % run.save_every == 0):
            self.owed = True
        if self.guard.streak:  # nothing is known about the weights until a step can be taken again
            return None
        if not self.measured:
            self.watch.doing = f"measuring after step {done}"
            with self.window.paused():
                self.measured = self.monitor.measure(done)
            if self.monitor.alarmed and job.probe.on_alarm == "stop":
                self._save()
                self.events.note(done, "collapsed", "the collapse alarm sounded, and probe.on_alarm=stop ends the run")
                return exits.COLLAPSED
        if self.owed:
            with self.window.paused():
                self._save()
        return None

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        self.watch.doing = f"saving after step {self.done}"
        self.owed = False
        scaler = getattr(self.team.fabric._precision, "scaler", None)
        state = {
            **self.job.facts,
            "guard": self.guard.state(),
            "memory": self.gradient.state(),
            "measured": self.measured,
            "scaler": None if scaler is None else scaler.state_dict(),
            "machine": machine(self.team),
        }
        self.team.together(
            lambda: self.writer.save(self.done, self.job.model, self.job.optimizer, state, self.job.config_yaml)
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.done = int(state["step"])
        self.guard.restore(state["guard"])
        self.gradient.restore(state["memory"])
        self.measured = bool(state["measured"])
        scaler = getattr(self.team.fabric._precision, "scaler", None)
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])

    def _feed(self) -> Feed:
        job = self.job
        return Feed(
            job.observations,
            self.batches.starting(self.done),
            job.seed,
            workers(job.run, job.observations),
            job.run.data_timeout,
            pin=self.team.fabric.device.type == "cuda",
            avoid=self.quarantine.avoided,
            say=lambda line: self.events.tell(self.done, "data", line, everywhere=True),
        )

    # --- endings -----------------------------------------------------------------------------------------------------

    def _end(self) -> int:
        """After the last step."""
        if self.guard.streak > 1:
            self.events.tell(self.done, "not finite", f"the last {self.guard.streak} steps were skipped: {ADVICE}")
            return exits.NOT_FINITE
        if self.guard.streak:
            self.measured = self.monitor.measure(self.done)
            self._save()
        if not self.measured:  # a signal came during the last evaluation
            return self._leave()
        return 0

    def _leave(self) -> int:
        """A signal has come: save what is not saved yet."""
        if self.done and self.writer.saved != self.done and (self.job.state is None or self.done > self.job.first):
            self._save()
        name = self.stop.signal.name if self.stop.signal is not None else "a signal to another process"
        self.events.tell(self.done, "stopped", f"stopped by {name} after step {self.done}; go on with run.resume=auto")
        return exits.REQUEUE

    def _requeue(self) -> None:
        if self.stop.signal is not SIGUSR1 or not self.job.run.requeue:
            return
        told = signals.requeue() if self.job.run.resume == "auto" and self.job.run.out else None
        if told is None and "SLURM_JOB_ID" in os.environ:
            told = "the SLURM job is not requeued: it could not go on without run.out=FOLDER and run.resume=auto"
        if told is not None:
            self.events.tell(self.done, "requeue", told)

    def _give_up(self, obs: list[Batch], masks: list[Masks], terms: dict[str, Tensor]) -> int:
        """Too many steps in a row were skipped: go back once; the second time leave with all that shows why."""
        back = self.team.lead(self._last_good)
        if not self.rolled_back and back is not None:
            return ROLL_BACK
        kept = replay.dump(
            self.job.out, self.done - 1, self.job, self.batches, self.gradient.state(), obs, masks, terms
        )
        self.events.tell(
            self.done,
            "not finite",
            f"{self.guard.streak} steps in a row had no finite loss and gradient; {ADVICE}. The last of them is kept: "
            f"worldjepa replay {kept}",
        )
        return exits.NOT_FINITE

    def _last_good(self) -> Path | None:
        self.writer.wait()
        return checkpoint.newest(self.job.out / "checkpoints", before=self.done)[0]

    def _roll_back(self) -> None:
        back = self.team.lead(self._last_good)
        assert back is not None
        self.rolled_back = True
        state = checkpoint.read_state(back)
        self.events.tell(
            self.done,
            "rolled back",
            f"{self.guard.streak} steps in a row had no finite loss and gradient: going back to step {state['step']}, once",
        )
        checkpoint.load_model(back, self.job.model)
        checkpoint.load_optimizer(back, self.job.optimizer)
        self._restore(state)
        self.writer.saved = self.done
        self.owed = False
        self.window = Window(self.done, self.job.schedule, self.job.run, trained_seconds=self.window.trained_seconds)
        if self.team.leads:
            for logger in self.loggers:
                logger.cut(self.done)
        self.screen.rewind(self.done)


ROLL_BACK = -1
"""Not an exit code: the loop goes back to the newest checkpoint."""

ADVICE = "lower optim.lr, set run.clip_norm, or use run.precision=32-true"


def draw_masks(sampler: MaskSampler, grid: Grid, batch: int, seed: int, step: int, views: int = 1) -> list[Masks]:
    """The masks of the global batch, of every view by itself: a function of (seed, step)."""
    return per_view(sampler, grid, batch, views, generator(seed, "masks", step))


def switch_on(model: JEPA, run: RunSettings) -> None:
    """Switch on recomputation and compilation of the transformer blocks, as the settings say."""
    if run.compile:
        # One graph for each role of a block (target, encoder, predictor, its last block, evaluation, mixed precision), and none
        # for the lengths of the masks. Past PyTorch's limit of 8 it would go on uncompiled and say nothing.
        torch._dynamo.config.recompile_limit = max(32, torch._dynamo.config.recompile_limit)
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


def machine(team: Team) -> dict[str, Any]:
    """What a bitwise repetition depends on besides the configuration."""
    return {
        "processes": team.size,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if team.fabric.device.type == "cuda" else team.fabric.device.type,
        "torch": torch.__version__,
    }


def other_machine(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """A line if a run that goes on cannot repeat the last bits."""
    changed = [f"{name} {saved.get(name)} -> {value}" for name, value in current.items() if saved.get(name) != value]
    if not changed:
        return []
    return [f"not bit for bit the run that was interrupted, though the same samples and masks: {', '.join(changed)}"]


def introduction(job: Job) -> Iterator[str]:
    """Lines that say what is about to happen."""
    run, schedule, fabric = job.run, job.schedule, job.team.fabric
    yield f"run folder: {job.out}" + (f" (going on from step {job.first})" if job.first else "")
    yield (
        f"data: {len(job.observations):,} observations of {tuple(job.observations.shape)}, {job.grid.size} tokens "
        f"{tuple(job.grid)}"
    )
    sizes = [
        f"{name} {sum(p.numel() for p in part.parameters()) / 1e6:.2f}M"
        for name, part in (("encoder", job.model.encoder), ("predictor", job.model.predictor))
    ]
    yield f"model: {', '.join(sizes)}; {fabric.device}, {run.precision}, {torch.get_num_threads()} threads"
    yield (
        f"steps: {schedule.steps} ({schedule.epoch(schedule.steps):.1f} epochs), global batch {schedule.global_batch} = "
        f"{run.batch_size} per device x {run.accumulate} accumulated x {fabric.world_size} processes"
    )
