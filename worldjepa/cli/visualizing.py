"""The work of `worldjepa visualize`: opens what is asked for, draws, prints and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from lightning_fabric import Fabric

from worldjepa.cli.energies import energy
from worldjepa.cli.opening import Opened, open_encoders, open_masks, open_run
from worldjepa.cli.visualize import Asked
from worldjepa.errors import Unsaved, UserError
from worldjepa.evaluate.embed import Batch, batches
from worldjepa.train.build import build_sampler
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.types import Masks, Tokens
from worldjepa.visual.attention import attention_picture
from worldjepa.visual.masks import masks_picture
from worldjepa.visual.neighbours import neighbours_picture
from worldjepa.visual.pca import Centre, Fit, Foreground, pca_picture
from worldjepa.visual.sheet import Shown, save
from worldjepa.visual.similarity import similarity_picture

OVER = 32
"""Observations that a basis or numbers are taken from."""


def visualize(asked: Asked) -> int:
    """Draw, print the numbers, write the files; returns the exit code.

    Raises:
        UserError: the picture cannot be had of this checkpoint or of these data.
        Unsaved: the disk does not take it.
    """
    shown = PICTURES[asked.kind](asked)
    files = save(shown, asked.out)
    beside = asked.out.with_suffix(".json")
    given = {key: value for key, value in asked.own.items() if key not in ("out", "checkpoint")}
    settings = {**given, "words": list(asked.overrides), "count": asked.shown, "seed": asked.seed}
    facts = {"kind": asked.kind, "checkpoints": [str(path) for path in asked.paths], "settings": settings}
    try:
        write_json(beside, {**facts, **shown.numbers})
    except OSError as error:
        raise Unsaved(f"{beside} could not be written: {error.strerror or error}") from error
    console = screen_console()
    console.print(shown.caption, highlight=False, markup=False, soft_wrap=True)
    names = [str(file) for file in (*files, beside)]
    console.print(f"{', '.join(names[:-1])} and {names[-1]} are written", highlight=False, markup=False, soft_wrap=True)
    return 0


def masks(asked: Asked) -> Shown:
    """Masks of a checkpoint's configuration, or of one that the words make."""
    opened = open_masks(asked)
    batch = _drawn(opened, asked, asked.shown)
    sampler = build_sampler(opened.config).at(min(asked.share("progress"), 1 - 1e-9))
    return masks_picture(
        sampler,
        opened.blank(),
        batch.obs,
        opened.depiction,
        asked.seed,
        asked.whole("draws", 2),
        asked.whole("samples", 512),
        opened.run.batch_size,
    )


def pca(asked: Asked) -> Shown:
    """Principal components of one or several checkpoints."""
    opened, encoders = open_encoders(asked)
    over = asked.whole("over", OVER)
    batch = _drawn(opened, asked, max(over, asked.shown))
    device = _device(opened)
    return pca_picture(
        {name: encoder.to(device) for name, encoder in encoders.items()},
        batch.obs.to(device),
        opened.depiction,
        asked.layer,
        cast(Foreground, asked.own.get("foreground", "none")),
        cast(Fit, asked.own.get("fit", "last")),
        cast(Centre, asked.own.get("centre", "all")),
        asked.shown,
    )


def attention(asked: Asked) -> Shown:
    """Attention of the encoder."""
    opened, encoders = open_encoders(asked)
    batch, device = _drawn(opened, asked, asked.shown), _device(opened)
    (encoder,) = encoders.values()
    token = asked.numbers("token")
    return attention_picture(
        encoder.to(device), batch.obs.to(device), opened.depiction, asked.layer, asked.numbers("head"), token
    )


def neighbours(asked: Asked) -> Shown:
    """Neighbours among labelled data, or among those of the training."""
    opened, encoders = open_encoders(asked)
    splits = opened.source.probe()
    bank = opened.observations if splits is None else splits.train
    queries = bank if splits is None else splits.test
    (encoder,) = encoders.values()
    return neighbours_picture(
        encoder.to(_device(opened)),
        queries,
        bank,
        opened.depiction,
        chosen(len(queries), asked.shown, asked.seed),
        asked.whole("k", 6),
        asked.whole("most", 2000),
        factor=asked.own.get("factor"),
        batch=opened.run.batch_size,
    )


def similarity(asked: Asked) -> Shown:
    """What the predictor of a run predicts."""
    opened, model = open_run(asked)
    batch = _drawn(opened, asked, max(asked.whole("over", OVER), asked.shown))
    device = _device(opened)
    rng = torch.Generator().manual_seed(asked.seed)
    sampler = build_sampler(opened.config).at(0.0)
    drawn = sampler(model.encoder.grid(batch.obs.shape[1:]), len(batch.obs), rng)[0]
    drawn = Masks(*(sets.to(device) for sets in drawn))
    cond = None if batch.cond is None else Tokens(*(part.to(device) for part in batch.cond))
    obs = batch.obs.to(device)
    return similarity_picture(model.to(device), obs, drawn, opened.depiction, cond, shown=asked.shown)


PICTURES: dict[str, Callable[[Asked], Shown]] = {
    "masks": masks,
    "pca": pca,
    "attention": attention,
    "neighbours": neighbours,
    "similarity": similarity,
    "energy": energy,
}


def chosen(number: int, count: int, seed: int) -> list[int]:
    """Which observations are shown: `count` of them in a random order that the seed decides."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed))[:count].tolist()


def _drawn(opened: Opened, asked: Asked, count: int) -> Batch:
    """Plain views of some observations of the training.

    Raises:
        UserError: none of them can be read.
    """
    wanted = chosen(len(opened.observations), count, asked.seed)
    batch = next(batches(opened.observations, wanted, count), None)
    if batch is None:
        raise UserError(f"none of {len(wanted)} observations can be read, beginning with {opened.observations.name(0)}")
    return batch


def _device(opened: Opened) -> torch.device:
    if opened.run.threads is not None:
        torch.set_num_threads(opened.run.threads)
    return Fabric(accelerator=opened.run.accelerator, devices=1).device
