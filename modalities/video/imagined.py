"""Clips that are imagined: a block that lasts from the first frame to the last, or the frames that follow."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from modalities.video.encode import write_video
from worldjepa.errors import UserError
from worldjepa.imagine.asking import corner, pose, question_of, sizes
from worldjepa.imagine.paint import colours, covered, enlarged, grown, scaled, sheet, shrunk
from worldjepa.imagine.subject import Besides, Decode, Part, Scenes, Subject, Tile
from worldjepa.jepa import JEPA
from worldjepa.types import Tokens

MOST_PIXELS = 64
"""Parts with a longer side are decoded at a smaller scale."""
SHOWN = 8
"""Frames of a clip that the sheet shows at most, spread evenly."""
LINES = 2
"""Samples that the sheet shows; the film shows all."""
RATE, LOOPS = 6, 4
"""Frames a second of films, and how often the clip is played in a file that does not play it again by itself."""
COLOURS = 48


class Take(NamedTuple):
    """One version of a clip."""

    name: str
    frames: UInt8[ndarray, "T H W 3"]


class Place(NamedTuple):
    """The imagined part of a clip: a box of pixels, from a frame on."""

    box: tuple[int, int, int, int]
    start: int


@final
class Films(Subject):
    """A part of a clip; its frames lie side by side in the channels of what is decoded.

    Args:
        model: a model of clips.
        shape: of a clip, (C, T, H, W).
        part: which part.

    Raises:
        UserError: the observations are no clips of grey or RGB frames, or the part does not fit.
    """

    def __init__(self, model: JEPA, shape: Sequence[int], part: Part) -> None:
        if len(shape) != 4 or shape[0] not in (1, 3):
            raise UserError(
                f"only clips of grey or RGB frames (channels, frames, height, width) are imagined, not {tuple(shape)}"
            )
        self.model, self.part = model, part
        self.channels, self.length = shape[0], shape[1]
        self.grid = model.encoder.grid(shape)
        self.cell = shape[2] // self.grid.h, shape[3] // self.grid.w
        self.question = question_of(self.grid, part, self.length)
        self.size = sizes(self.question.extent, self.cell)
        self.start = self.length - self.question.depth * (self.length // self.grid.t)

    def settings(self) -> dict[str, Any]:
        """Which part is imagined."""
        return self.part._asdict()

    def scenes(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator) -> Scenes:
        """Ask for the part of each clip.

        Raises:
            UserError: the clips are not uint8.
        """
        if obs.dtype != torch.uint8:
            raise UserError(f"only uint8 clips can be decoded, not {obs.dtype}: their range is not known")
        posed = pose(self.model, obs, self.question, rng)
        parts = [self._cut(clip, self.place(where)) for clip, where in zip(obs, posed.where, strict=True)]
        picture = shrunk(scaled(torch.stack(parts)), MOST_PIXELS)
        return Scenes(posed.predicted, posed.true, posed.where, picture, posed.seen)

    def rows(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> list[list[Tile]]:
        """For each clip a line each of frames: what was seen, two samples, the control and the truth."""
        found = []
        for place, takes in self.takes(obs, rng, decode):
            context, *samples, control, truth = takes
            found += [self._line(take, place) for take in (context, *samples[:LINES], control, truth)]
        return found

    def besides(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> Besides:
        """The same as a film, all clips below one another and all that is made of each side by side, as GIF and MP4."""
        clips = self.takes(obs, rng, decode)
        film = [
            sheet([[Tile(take.name, _framed(take, place, step)) for take in takes] for place, takes in clips])
            for step in range(self.length)
        ]
        gif = {"imagined.gif": partial(write_gif, film=film)}
        if importlib.util.find_spec("av") is None:
            return Besides(gif, ["imagined.mp4 is not written: it needs PyAV (pip install av)"])
        return Besides({**gif, "imagined.mp4": partial(write_mp4, film=film)})

    def takes(self, obs: Tensor, rng: torch.Generator, decode: Decode) -> list[tuple[Place, list[Take]]]:
        """Of each clip the imagined place and versions: what was seen, each sample, the control, the truth."""
        scenes = self.scenes(obs, None, rng)
        decoded = decode(scenes.condition())
        found = []
        for index, clip in enumerate(obs):
            place = self.place(scenes.where[index])
            whole = colours(scaled(clip.transpose(0, 1)))
            hidden = ~scenes.seen[index].cpu().numpy().reshape(self.grid)
            hidden = hidden.repeat(self.length // self.grid.t, 0)  # [T, h, w]
            context = np.stack([covered(frame, cells) for frame, cells in zip(whole, hidden, strict=True)])
            takes = [Take("context", context)]
            for number, sample in enumerate(decoded.samples[index]):
                takes.append(Take(f"sample {number + 1}", self._pasted(context, self._frames(sample), place)))
            takes.append(Take("regression", self._pasted(context, self._frames(decoded.control[index]), place)))
            takes.append(Take("truth", self._pasted(context, self._inside(whole, place), place)))
            found.append((place, takes))
        return found

    def place(self, where: Float[Tensor, " 4"]) -> Place:
        """Where the imagined part of a clip lies."""
        row, column = corner(where, self.question.plane)
        top, left = row * self.cell[0], column * self.cell[1]
        return Place((top, left, top + self.size[0], left + self.size[1]), self.start)

    def _cut(self, clip: UInt8[Tensor, "C T H W"], place: Place) -> UInt8[Tensor, "K h w"]:
        top, left, bottom, right = place.box
        return clip[:, place.start :, top:bottom, left:right].transpose(0, 1).flatten(0, 1)

    def _frames(self, picture: Float[Tensor, "K h w"]) -> UInt8[ndarray, "t h w 3"]:
        return colours(grown(picture[None], self.size)[0].unflatten(0, (-1, self.channels)))

    @staticmethod
    def _inside(whole: UInt8[ndarray, "T H W 3"], place: Place) -> UInt8[ndarray, "t h w 3"]:
        top, left, bottom, right = place.box
        return whole[place.start :, top:bottom, left:right]

    @staticmethod
    def _pasted(
        whole: UInt8[ndarray, "T H W 3"], part: UInt8[ndarray, "t h w 3"], place: Place
    ) -> UInt8[ndarray, "T H W 3"]:
        top, left, bottom, right = place.box
        pasted = whole.copy()
        pasted[place.start :, top:bottom, left:right] = part
        return pasted

    def _line(self, take: Take, place: Place) -> list[Tile]:
        steps = np.linspace(0, self.length - 1, min(SHOWN, self.length)).round().astype(int).tolist()
        names = [f"{take.name}: frame {steps[0] + 1}", *(f"frame {step + 1}" for step in steps[1:])]
        return [Tile(name, _framed(take, place, step)) for name, step in zip(names, steps, strict=True)]


def _framed(take: Take, place: Place, step: int) -> UInt8[ndarray, "h w 3"]:
    """A frame, outlined where it is imagined."""
    return enlarged(take.frames[step], place.box if step >= place.start else None)


def write_gif(path: Path, film: Sequence[Image.Image]) -> None:
    """Pictures one after the other, again and again, in the colours of the first."""
    palette = film[0].quantize(COLOURS, dither=Image.Dither.NONE)
    first, *rest = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in film]
    first.save(path, "GIF", save_all=True, append_images=rest, duration=1000 // RATE, loop=0)


def write_mp4(path: Path, film: Sequence[Image.Image]) -> None:
    """Pictures one after the other, a few times, as H.264, which needs even sides."""
    pixels = np.stack([np.array(picture) for picture in film])
    height, width = pixels.shape[1] // 2 * 2, pixels.shape[2] // 2 * 2
    write_video(path, np.concatenate([pixels[:, :height, :width]] * LOOPS), RATE)
