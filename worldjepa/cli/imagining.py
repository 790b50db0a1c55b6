"""The work of `worldjepa imagine`: the model and its data, the decoder, the pictures and the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from worldjepa.cli.embedding import data_config
from worldjepa.cli.measure import is_empty_run, replace
from worldjepa.cli.planning import make_folder
from worldjepa.cli.validate import settings, validate
from worldjepa.data import DataSource, Observations
from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.evaluate.cached import weights_hash
from worldjepa.evaluate.embed import batches
from worldjepa.imagine import saved
from worldjepa.imagine.blocks import Blocks
from worldjepa.imagine.inputs import read_inputs
from worldjepa.imagine.judge import educate
from worldjepa.imagine.known import Known, cycled, labelled, spread_over, wandered
from worldjepa.imagine.measure import ROWS, Pair, decode, judged, pictures, spread
from worldjepa.imagine.paint import aside, write_sheet
from worldjepa.imagine.rollouts import Rollouts
from worldjepa.imagine.subject import Decode, Imaginable, Part, Scenes, Subject
from worldjepa.imagine.teaching import Lesson, gather, teach
from worldjepa.imagine.with_diffusers import check_diffusers
from worldjepa.interop import load, runs
from worldjepa.interop.saved import refuse
from worldjepa.interop.sizes import Ask
from worldjepa.jepa import JEPA
from worldjepa.objectives import SmoothL1
from worldjepa.targets import Shared
from worldjepa.train import allocator, checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.train.trusted import read_config, restrict
from worldjepa.types import Tokens
from worldjepa.world.environment import GoalEnvironment, Simulated
from worldjepa.world.model import WorldModel
from worldjepa.world.record import seeds_of

JUDGE_STEPS = 500
JUDGED = 4_000
"""Scenes that the judge learns from at most."""
ELSEWHERE = 800
"""Seed of episodes that nothing has learned from."""
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


def imagine(
    path: Path,
    overrides: Sequence[str],
    config_dirs: Sequence[Path],
    out: Path,
    inputs: Sequence[Path],
    wanted: Wanted,
    asked: Ask,
) -> int:
    """Train the decoder unless it is there, draw, measure, and return the exit code.

    Raises:
        UserError: the checkpoint is damaged or predicts nothing that can be shown, or a number is out of its range.
        Unsaved: the disk does not take the results.
    """
    if not math.isfinite(wanted.guidance) or not wanted.radius > 0:
        raise UserError(f"guidance must be a number and radius above 0: {wanted.guidance}, {wanted.radius}")
    if wanted.decoder == "diffusers":
        check_diffusers()
    allocator.keep_freed_memory()
    opened = open_model(path, overrides, config_dirs, asked)
    observations = opened.source.train()
    subject = subject_of(opened.model, observations.shape, wanted)
    if inputs and not isinstance(subject, Blocks):
        raise UserError(f"inputs= are pictures, but this model sees {observations.shape}")
    shown = shown_of(opened, observations, inputs, wanted)
    make_folder(out)
    console = screen_console()
    pair = decoder_of(subject, opened, observations, out, wanted, console)
    for line in draw(subject, pair, shown, opened.device, out, wanted):
        console.print(line)
    found = measured(subject, pair, opened, wanted, console) if wanted.count else None
    if found is not None:
        write_json(out / "measure.json", {"checkpoint": str(path), "settings": asdict(wanted), **found})
        for name, entry in found["factors"].items():
            console.print(table(name, entry))
        console.print(in_words(found))
    console.print(f"everything is in {out}")
    return 0


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


def decoder_of(
    subject: Subject, opened: Opened, observations: Observations, out: Path, wanted: Wanted, console: Console
) -> Pair:
    """The decoder of the folder, if it was made for this; otherwise a new one, which is left there."""
    key = key_of(subject, opened, observations, wanted)
    there = saved.load(out, key, wanted.denoise, wanted.guidance)
    if there is not None:
        console.print(f"the decoder in {out} was made for this: it is used again")
        return Pair(*(part.to(opened.device) for part in there))
    indices = list(cycled(len(observations), wanted.examples))
    with progress(console) as bar:
        asking = bar.add_task("asking the predictor", total=len(indices))
        tell = partial(_advance, bar, asking)
        scenes, _ = gather(subject, observations, indices, wanted.seed + LEARN, opened.device, tell)
        network = network_of(scenes, wanted)
        with torch.random.fork_rng([]):
            torch.manual_seed(wanted.seed)
            pair = saved.built(network, list(scenes.picture.shape[1:]), wanted.denoise, wanted.guidance)
        trained = []
        for name, part, steps in (("decoder", pair.diffusion, wanted.steps), ("control", pair.control, wanted.control)):
            task = bar.add_task(f"training the {name}", total=steps)
            lesson = Lesson(steps, wanted.batch)
            trained.append(
                teach(part, scenes, wanted.train_on, lesson, wanted.seed, opened.device, partial(_advance, bar, task))
            )
    pair = Pair(*trained)
    saved.save(out, pair, key, network, list(scenes.picture.shape[1:]))
    return pair


def key_of(subject: Subject, opened: Opened, observations: Observations, wanted: Wanted) -> dict[str, Any]:
    """All that decides the decoder's weights."""
    lesson = ("steps", "batch", "examples", "control", "train_on", "width", "decoder", "seed")
    return {
        "version": saved.VERSION,
        "weights": weights_hash(opened.model),
        "data": observations.fingerprint(),
        "subject": type(subject).__name__,
        **subject.settings(),
        **{name: getattr(wanted, name) for name in lesson},
    }


def network_of(scenes: Scenes, wanted: Wanted) -> dict[str, Any]:
    """The kind and the sizes of the decoder's network: of larger pictures, ours takes pixels together."""
    _, channels, *side = scenes.picture.shape
    patch = 2 if max(side) >= 32 and not any(extent % 2 for extent in side) else 1
    sizes = {"channels": channels, "tokens": list(scenes.predicted.shape[1:]), "where": scenes.where.shape[1]}
    sizes |= {"kind": wanted.decoder, "width": wanted.width}
    return sizes | ({"patch": patch} if wanted.decoder == "unet" else {})


def draw(subject: Subject, pair: Pair, shown: Shown, device: torch.device, out: Path, wanted: Wanted) -> Sequence[str]:
    """Write the sheet and what a modality shows besides; returns what there is to say of it.

    Raises:
        Unsaved: the disk does not take it.
    """
    obs = shown.obs.to(device)
    cond = None if shown.cond is None else Tokens(*(part.to(device) for part in shown.cond))

    def seeded() -> tuple[torch.Generator, Decode]:
        rng = torch.Generator().manual_seed(wanted.seed + SHOW)
        return rng, partial(decode, pair, count=wanted.samples, rng=rng, device=device)

    write_sheet(out / "imagined.png", subject.rows(obs, cond, *seeded()))
    besides = subject.besides(obs, cond, *seeded())
    for name, write in besides.files.items():
        aside(out / name, write)
    more = f", beside {len(besides.files)} more file(s)" if besides.files else ""
    return [f"{out / 'imagined.png'} shows {len(obs)} observations{more}", *besides.notices]


def measured(subject: Subject, pair: Pair, opened: Opened, wanted: Wanted, console: Console) -> dict[str, Any] | None:
    """Judge what is imagined; None where nothing is known of the data."""
    known = known_of(subject, opened, wanted)
    if known is None:
        console.print("nothing is known of these data that a judge could read: they are drawn, not measured")
        return None
    learned, test = known
    judge = educate(learned.scenes, learned.factors, wanted.seed, JUDGE_STEPS)
    shown = pictures(pair, test.scenes, wanted.seed + TEST, opened.device)
    return {
        "trained_on": wanted.train_on,
        "scenes": len(test.scenes.picture),
        "judge_learned_from": len(learned.scenes.picture),
        "factors": judged(judge, shown, test.scenes, test.factors, wanted.radius, wanted.seed),
        "variance": spread(shown),
    }


def known_of(subject: Subject, opened: Opened, wanted: Wanted) -> tuple[Known, Known] | None:
    """Scenes of which something is known: some for the judge to learn from, some to be judged; None where there are none."""
    if isinstance(subject, Rollouts):
        world = opened.source.environment() if isinstance(opened.source, Simulated) else None
        if not isinstance(world, GoalEnvironment) or subject.repeat > 1:
            return None
        sizes = (JUDGED // 2, wanted.count)  # windows cost more than pictures
        seeds = [seeds_of(ELSEWHERE + number, range(size)) for number, size in enumerate(sizes)]
        learned, test = (wandered(subject, world, some, wanted.seed, opened.device) for some in seeds)
        return learned, test
    splits = opened.source.probe()
    if splits is None or not splits.test.factors:
        return None
    parts = ((splits.train, JUDGED, JUDGE), (splits.test, wanted.count, TEST))
    learned, test = (
        labelled(subject, part, spread_over(len(part), most), wanted.seed + seed, opened.device)
        for part, most, seed in parts
    )
    return learned, test


def table(name: str, entry: dict[str, Any]) -> Table:
    """What a judge reads of one factor."""
    numbers = entry["kind"] == "numbers"
    result = Table(title=f"{name}, read by a judge from {entry['scenes']} scenes")
    result.add_column("pictures", no_wrap=True)
    result.add_column("% within radius (95 %)" if numbers else "% right (95 %)", justify="right")
    if numbers:
        result.add_column("median error", justify="right")
    for row in ROWS:
        share = entry["share"][row]
        cells = [f"{100 * share['mean']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"]
        cells += [f"{entry['median_error'][row]:.3f}"] if numbers else []
        result.add_row(row, *cells)
    if not numbers:
        result.add_row("chance", f"{100 * entry['chance']:.1f}")
    return result


def in_words(found: dict[str, Any]) -> str:
    """What is known besides the tables."""
    lines = []
    for name, entry in found["factors"].items():
        told = ", ".join(
            f"{100 * one['mean']:+.1f} points than from the {row} (p {one['p']:.4f})"
            for row, one in entry["more_than"].items()
        )
        lines.append(f"{name} is read from samples {told}")
    within, between = found["variance"]["of_samples"], found["variance"]["of_true_pictures"]
    lines.append(f"variance between samples of one prediction {within:.4f}, between true pictures {between:.4f}")
    return "\n".join(lines)


def progress(console: Console) -> Progress:
    """A bar for each part of the work."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _advance(bar: Progress, task: Any, done: int, loss: float = 0.0) -> None:
    bar.update(task, completed=done)
