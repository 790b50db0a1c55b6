"""The decoder of `worldjepa imagine`: the one of the folder, or a new one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worldjepa.cli.imagined_model import LEARN, Opened, Wanted
from worldjepa.data import Observations
from worldjepa.evaluate.cached import weights_hash
from worldjepa.imagine import saved
from worldjepa.imagine.known import cycled
from worldjepa.imagine.measure import Pair
from worldjepa.imagine.subject import Scenes, Subject
from worldjepa.imagine.teaching import Lesson, gather, teach


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


def progress(console: Console) -> Progress:
    """A bar for each part of the work."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console)


def _advance(bar: Progress, task: Any, done: int, loss: float = 0.0) -> None:
    bar.update(task, completed=done)
