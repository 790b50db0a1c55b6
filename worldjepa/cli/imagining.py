"""The work of `worldjepa imagine`: the model and its data, the decoder, the pictures and the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from worldjepa.cli.imagined_decoder import decoder_of
from worldjepa.cli.imagined_measure import in_words, measured, table
from worldjepa.cli.imagined_model import SHOW, Shown, Wanted, open_model, shown_of, subject_of
from worldjepa.cli.planning import make_folder
from worldjepa.errors import UserError
from worldjepa.imagine.blocks import Blocks
from worldjepa.imagine.measure import Pair, decode
from worldjepa.imagine.paint import aside, write_sheet
from worldjepa.imagine.subject import Decode, Subject
from worldjepa.imagine.with_diffusers import check_diffusers
from worldjepa.interop.sizes import Ask
from worldjepa.train import allocator
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.types import Tokens


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
