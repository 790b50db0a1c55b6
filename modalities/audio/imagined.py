"""Sounds that are imagined: a part of the log-mel spectrogram, which is drawn, and heard in its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw
from torch import Tensor

from modalities.audio.frontend import FrontEnd
from modalities.audio.heard import LOUDEST, invertible, wave, write_wave
from modalities.audio.tokenizer import Patches
from worldjepa.errors import UserError
from worldjepa.imagine.asking import corner, pose, question_of, sizes
from worldjepa.imagine.paint import HIDDEN, INK, OUTLINE, PAPER, SIDE, grown, heat, shrunk
from worldjepa.imagine.subject import Besides, Decode, Part, Scenes, Subject, Tile
from worldjepa.jepa import JEPA
from worldjepa.types import Tokens

MOST_CELLS = 64
"""Parts with a longer side are decoded at a smaller scale."""
SPAN = 3.0
"""Deviations from the mean that are decoded, up and down."""
SHADES = 2.0
"""Those that have shades of their own."""
LOUD = (20, 30, 90)
"""Colour of what is loud; what is soft is as white as paper."""
LEFT, BELOW = 28, 14
"""Room for the axes."""
PITCHES = (10_000, 5000, 2000, 1000, 500, 200, 100)
"""Hertz that are marked, where bands reach them and there is room."""
LINE = 10
"""Height of a mark's name."""


class Version(NamedTuple):
    """One version of a spectrogram, normalised, and which cells of it are not known."""

    name: str
    values: Float[Tensor, "T F"]
    hidden: Bool[Tensor, "T F"]


class Place(NamedTuple):
    """The imagined part: frames and bands."""

    begin: int
    low: int
    end: int
    high: int


@final
class Spectrograms(Subject):
    """A part of a log-mel spectrogram, in deviations from the mean of the training data that the tokenizer keeps.

    Args:
        model: a model of sounds.
        tokenizer: its tokenizer.
        shape: of a spectrogram, (1, T, F).
        part: which part.

    Raises:
        UserError: the observations are no spectrograms, or the part does not fit.
    """

    def __init__(self, model: JEPA, tokenizer: Patches, shape: Sequence[int], part: Part) -> None:
        if len(shape) != 3 or shape[0] != 1:
            raise UserError(f"only spectrograms (1, frames, bands) are imagined, not observations of {tuple(shape)}")
        self.model, self.part, self.tokenizer = model, part, tokenizer
        self.front_end: FrontEnd = tokenizer.front_end
        self.grid = model.encoder.grid(shape)
        self.question = question_of(self.grid, part, shape[1])
        self.size = sizes(self.question.extent, tokenizer.patch)

    def settings(self) -> dict[str, Any]:
        """Which part is imagined."""
        return self.part._asdict()

    def scenes(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator) -> Scenes:
        """Ask for the part of each sound.

        Raises:
            UserError: the observations are not the logarithms that a front end gives.
        """
        if not obs.is_floating_point():
            raise UserError(f"only floating-point spectrograms can be decoded, not {obs.dtype}")
        posed = pose(self.model, obs, self.question, rng)
        normal = self.normal(obs)
        parts = [one[self._inside(self.place(where))] for one, where in zip(normal, posed.where, strict=True)]
        return Scenes(
            posed.predicted, posed.true, posed.where, shrunk(torch.stack(parts)[:, None], MOST_CELLS), posed.seen
        )

    def rows(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> list[list[Tile]]:
        """For each sound a row: itself, what was seen, samples in their place, the control, the truth, where samples differ."""
        scenes = self.scenes(obs, cond, rng)
        decoded = decode(scenes.condition())
        normal = self.normal(obs).cpu()
        found = []
        for index, versions in enumerate(self._versions(normal, scenes, decoded.samples, decoded.control)):
            place = self.place(scenes.where[index])
            nothing = torch.zeros_like(versions[0].hidden)
            whole = Version("input", normal[index], nothing)
            tiles = [Tile(whole.name, self._axes(self._drawn(whole, place)))]
            tiles += [Tile(one.name, self._margin(self._drawn(one, place))) for one in versions]
            spread = decoded.samples[index].std(0, correction=0)[None]
            map_ = self._spread(grown(spread, self.size)[0, 0], place, normal[index])
            found.append([*tiles, Tile("spread", self._margin(map_))])
        return found

    def besides(self, obs: Tensor, cond: Tokens | None, rng: torch.Generator, decode: Decode) -> Besides:
        """The same as sounds: what was seen with silence in the place of the rest, with each sample, the control, the truth."""
        if not invertible(self.front_end):
            return Besides(
                {}, ["no sounds are written: Kaldi's filter bank, this model's front end, cannot be inverted"]
            )
        scenes = self.scenes(obs, cond, rng)
        decoded = decode(scenes.condition())
        files = {}
        for index, versions in enumerate(
            self._versions(self.normal(obs).cpu(), scenes, decoded.samples, decoded.control)
        ):
            waves = wave(self.front_end, torch.stack([self._logarithms(one) for one in versions]))
            waves = waves * (LOUDEST / waves.abs().max().clamp_min(1e-6)).clamp_max(1.0)
            for one, samples in zip(versions, waves, strict=True):
                name = f"sounds/{index + 1:02d}-{one.name.replace(' ', '-')}.wav"
                files[name] = partial(write_wave, samples=samples, rate=self.front_end.rate)
        return Besides(files)

    def normal(self, obs: Float[Tensor, "B 1 T F"]) -> Float[Tensor, "B T F"]:
        """Spectrograms from -1 to 1, which are `SPAN` deviations below and above the mean."""
        deviations = (obs[:, 0].float() - self.tokenizer.mean) / self.tokenizer.std
        return (deviations / SPAN).clamp(-1, 1)

    def place(self, where: Float[Tensor, " 4"]) -> Place:
        """Where the imagined part of a spectrogram lies."""
        row, column = corner(where, self.question.plane)
        begin, low = row * self.tokenizer.patch[0], column * self.tokenizer.patch[1]
        return Place(begin, low, begin + self.size[0], low + self.size[1])

    def _versions(
        self,
        normal: Float[Tensor, "B T F"],
        scenes: Scenes,
        samples: Float[Tensor, "B S 1 h w"],
        control: Float[Tensor, "B 1 h w"],
    ) -> list[list[Version]]:
        """Of each sound what was seen, samples in their place, the control, and the truth; what was never seen is hidden."""
        found = []
        for index, whole in enumerate(normal):
            inside = self._inside(self.place(scenes.where[index]))
            cells = ~scenes.seen[index].cpu().view(self.grid.t, self.grid.h)
            hidden = cells.repeat_interleave(self.tokenizer.patch[0], 0).repeat_interleave(self.tokenizer.patch[1], 1)
            known = hidden.clone()
            known[inside] = False
            parts = [*samples[index], control[index]]
            names = [*(f"sample {number + 1}" for number in range(len(samples[index]))), "regression"]
            versions = [Version("context", whole, hidden)]
            for name, part in zip(names, parts, strict=True):
                values = whole.clone()
                values[inside] = grown(part[None], self.size)[0, 0]
                versions.append(Version(name, values, known))
            found.append([*versions, Version("truth", whole, known)])
        return found

    def _logarithms(self, version: Version) -> Float[Tensor, "T F"]:
        """As the front end gives them; what is hidden is silent."""
        mean, std = self.tokenizer.mean.cpu(), self.tokenizer.std.cpu()
        silence = torch.finfo(torch.float32).min
        return (version.values * SPAN * std + mean).masked_fill(version.hidden, silence)

    @staticmethod
    def _inside(place: Place) -> tuple[slice, slice]:
        return slice(place.begin, place.end), slice(place.low, place.high)

    def _drawn(self, version: Version, place: Place) -> UInt8[ndarray, "h w 3"]:
        """Time to the right, pitch upwards."""
        share = ((version.values * (SPAN / SHADES) + 1) / 2).clamp(0, 1)[..., None]
        rgb = torch.tensor(PAPER) * (1 - share) + torch.tensor(LOUD) * share
        rgb[version.hidden] = torch.tensor(HIDDEN).float()
        return self._outlined(rgb.round().byte().numpy(), place)

    def _spread(self, part: Float[Tensor, "t f"], place: Place, whole: Float[Tensor, "T F"]) -> UInt8[ndarray, "h w 3"]:
        map_ = np.zeros((*whole.shape, 3), np.uint8)
        map_[self._inside(place)] = heat(part, 1.0)
        return self._outlined(map_, place)

    @staticmethod
    def _outlined(pixels: UInt8[ndarray, "T F 3"], place: Place) -> UInt8[ndarray, "h w 3"]:
        times = max(1, -(-SIDE // max(pixels.shape[:2])))
        turned = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1]))
        image = turned.resize((turned.width * times, turned.height * times), Image.Resampling.NEAREST)
        bands = turned.height
        box = [edge * times for edge in (place.begin, bands - place.high, place.end, bands - place.low)]
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=OUTLINE, width=2)
        return np.array(image)

    @staticmethod
    def _margin(pixels: UInt8[ndarray, "h w 3"], left: int = 0) -> UInt8[ndarray, "H W 3"]:
        """The same with room below, and on the left."""
        roomy = np.full((pixels.shape[0] + BELOW, pixels.shape[1] + left, 3), PAPER, np.uint8)
        roomy[: pixels.shape[0], left:] = pixels
        return roomy

    def _axes(self, pixels: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "H W 3"]:
        """The same with hertz on the left and seconds below."""
        image = Image.fromarray(self._margin(pixels, LEFT))
        pen, height, edges, last = ImageDraw.Draw(image), pixels.shape[0], self.front_end.edges(), -LINE
        for hertz in PITCHES:
            share = float(np.interp(hertz, edges.numpy(), np.linspace(0, 1, len(edges))))
            at = round(height * (1 - share))
            if edges[0] <= hertz <= edges[-1] and last + LINE <= at <= height - LINE // 2:
                pen.line((LEFT - 3, at, LEFT - 1, at), fill=INK)
                pen.text((LEFT - 5, at), f"{hertz // 1000}k" if hertz >= 1000 else str(hertz), fill=INK, anchor="rm")
                last = at
        seconds = self.question.grid.t * self.tokenizer.patch[0] * self.front_end.hop / self.front_end.rate
        pen.text((LEFT, height + 1), "0 s", fill=INK)
        pen.text((image.width - 1, height + 1), f"{seconds:.1f} s", fill=INK, anchor="ra")
        return np.array(image)
