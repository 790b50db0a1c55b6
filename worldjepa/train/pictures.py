"""Pictures that a finished run leaves for its report: what is hidden and asked, and what the encoder tells apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import batches
from worldjepa.interfaces import Encoder, MaskSampler
from worldjepa.train.ending import said
from worldjepa.train.folder import write_json
from worldjepa.train.logs import Screen
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.masks import masks_picture
from worldjepa.visual.pca import pca_picture
from worldjepa.visual.sheet import Shown, save

Depict = Callable[[], Depiction]
"""Says how observations are drawn, or raises `UserError` where nothing says so."""
FOLDER = "pictures"
DRAWN, OVER, SAMPLES = 3, 16, 256
"""Observations that are shown, those that components are taken from, and draws that the coverage is taken over."""


def draw(
    out: Path, encoder: Encoder, sampler: MaskSampler, observations: Observations, depict: Depict, screen: Screen
) -> None:
    """Draw masks and principal components into `out/pictures`; what cannot be drawn is said, and no more.

    Args:
        out: the run folder.
        encoder: as it is released.
        sampler: draws the masks, as it does at the end of the run.
        observations: those of the training.
        depict: how they are drawn.
        screen: hears what cannot be drawn.
    """
    try:
        depiction = depict()
        obs = _plain(observations, next((one.device for one in encoder.parameters()), torch.device("cpu")))
        names = {
            "masks": masks_picture(sampler, encoder, obs[:DRAWN], depiction, draws=1, samples=SAMPLES),
            "pca": pca_picture({"at the end": encoder}, obs, depiction, shown=DRAWN),
        }
        for name, shown in names.items():
            _keep(shown, name, out)
    except Exception as error:  # noqa: BLE001  the run is over and whole: nothing here may change what came of it
        screen.say(f"note: not all pictures of this run could be drawn: {said(error)}")


def _plain(observations: Observations, device: torch.device) -> Tensor:
    """Plain views of some observations.

    Raises:
        UserError: none can be read.
    """
    wanted = torch.randperm(len(observations), generator=torch.Generator().manual_seed(0))[:OVER].tolist()
    batch = next(batches(observations, wanted, OVER), None)
    if batch is None:
        raise UserError(f"none of {len(wanted)} observations can be read")
    return batch.obs.to(device)


TITLES = {"masks": "What is seen, and what is asked", "pca": "What the encoder tells apart"}
KEYS = {"masks": f"count={DRAWN} draws=1 samples={SAMPLES} progress=1", "pca": f"count={DRAWN} over={OVER}"}
"""With which `worldjepa visualize` draws the like."""


def _keep(shown: Shown, name: str, out: Path) -> None:
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    save(shown, folder / f"{name}.png")
    command = f"worldjepa visualize {name} checkpoint={out} {KEYS[name]}"
    write_json(folder / f"{name}.json", {"title": TITLES[name], "caption": shown.caption, "command": command})
