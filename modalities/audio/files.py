"""Recordings on disk as observations."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from modalities.audio.decode import read_stretch
from modalities.audio.frontend import FrontEnd
from modalities.audio.frontend import front_end as named
from modalities.audio.resample import resample
from worldjepa.data import Labels
from worldjepa.data.files import Files
from worldjepa.data.paths import Kind, PathTable
from worldjepa.errors import UserError

KIND = Kind(
    "sounds", (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
)
"""The files that are taken for sounds."""


class View(NamedTuple):
    """How recordings are brought to one shape."""

    front_end: FrontEnd
    frames: int
    """Length of the spectrograms, T."""
    seconds: float
    """How much of a recording is heard."""


def checked_view(front_end: str, frames: int, seconds: float | None) -> View:
    """Build a view.

    Args:
        front_end: name of the front end.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard; by default as much as the frames span. What is missing then to the
            frames is filled with zeros, as the published recipes do.

    Raises:
        UserError: a value is out of its range.
    """
    made = named(front_end)
    if frames < 1:
        raise UserError(f"frames must be at least 1: {frames}")
    spanned = made.samples(frames) / made.rate
    if seconds is not None and not made.shortest / made.rate <= seconds:
        raise UserError(f"seconds must be at least {made.shortest / made.rate:g}, one window of {front_end}: {seconds}")
    return View(made, int(frames), spanned if seconds is None else float(seconds))


class SoundFiles(Files):
    """Sound files below one folder, decoded, resampled and turned into spectrograms when they are asked for.

    Args:
        root: the folder that the paths are relative to.
        paths: the files.
        view: what is made of them.
        factors: what is known about each file.
    """

    def __init__(self, root: str, paths: PathTable, view: View, factors: dict[str, Labels] | None = None):
        super().__init__(root, paths, factors)
        self.view = view
        self.shape = (1, view.frames, view.front_end.bins)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Float[Tensor, "1 T F"]:
        """The log-mel spectrogram of a random stretch of the recording, or of its middle without `rng`.

        All channels are mixed to one; a recording that is shorter than the view is followed by silence.

        Raises:
            Unreadable: the file cannot be decoded; the message names it.
        """
        view = self.view
        draw = 0.5 if rng is None else float(torch.rand((), generator=rng))
        shortest = view.front_end.shortest / view.front_end.rate
        wave, rate = read_stretch(self.path(index), view.seconds, lambda left_over: draw * left_over, shortest)
        return spectrogram(resample(wave, rate, view.front_end.rate), view)

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> SoundFiles:
        """Other sounds below the same folder, in the same view."""
        return SoundFiles(self.root, paths, self.view, factors)


def spectrogram(wave: Float[Tensor, " S"], view: View) -> Float[Tensor, "1 T F"]:
    """The view of a waveform at the front end's rate."""
    front = view.front_end
    length = max(front.shortest, round(view.seconds * front.rate))
    made = front(F.pad(wave[:length], (0, max(0, length - len(wave)))))[: view.frames]
    return F.pad(made, (0, 0, 0, view.frames - len(made)))[None]
