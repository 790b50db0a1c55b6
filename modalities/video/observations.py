"""Sets of clips, read from video files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from modalities.video.decode import Decoder, check_decoder, read_clip
from modalities.video.frames import Choose, Timeline
from modalities.video.sampling import Sampling, checked_sampling
from modalities.video.view import View, checked_view
from worldjepa.data import Labels, Observations, ProbeSplits
from worldjepa.data.files import Files
from worldjepa.data.paths import Kind, PathTable
from worldjepa.errors import UserError

KIND = Kind("videos", (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"))
"""The files that are taken for videos."""


class Reading(NamedTuple):
    """How a clip is read from a file: what the settings of all sources of clips come to."""

    sampling: Sampling
    view: View
    clips: int
    """Clips that every video gives."""
    decoder: Decoder

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of a clip, `(C, T, H, W)`."""
        return (self.view.channels, self.sampling.frames, self.view.size, self.view.size)

    def files(self, root: str, paths: PathTable) -> VideoFiles:
        """Videos that are read so, one clip of each."""
        return VideoFiles(root, paths, self)

    def all_clips(self, files: Files) -> Observations:
        """All clips of the videos."""
        assert isinstance(files, VideoFiles)
        return files if self.clips == 1 else SeveralClips(files, self.clips)

    def all_splits(self, splits: ProbeSplits | None) -> ProbeSplits | None:
        """All clips of the videos of each split."""
        return None if splits is None else ProbeSplits(*(self.all_clips(part) for part in splits))  # type: ignore[arg-type]


def checked_reading(
    frames: int,
    stride: int,
    fps: float | None,
    short: str,
    clips: int,
    size: int,
    channels: int,
    crop_scale: Sequence[float] | None,
    flip: float,
    decoder: str,
) -> Reading:
    """Build a reading.

    Raises:
        UserError: a value is out of its range.
    """
    if clips < 1:
        raise UserError(f"clips must be at least 1: {clips}")
    sampling = checked_sampling(frames, stride, fps, short)
    return Reading(sampling, checked_view(size, channels, crop_scale, flip), int(clips), check_decoder(decoder))


class VideoFiles(Files):
    """Video files below one folder, one clip of each; decoded when they are asked for.

    Args:
        root: the folder that the paths are relative to.
        paths: the files.
        reading: how clips are read.
        factors: what is known about each file.
    """

    def __init__(self, root: str, paths: PathTable, reading: Reading, factors: dict[str, Labels] | None = None):
        super().__init__(root, paths, factors)
        self.reading = reading
        self.shape = reading.shape

    def observe(self, index: int, rng: torch.Generator | None = None) -> UInt8[Tensor, "C T H W"]:
        """A random crop of a random stretch, or the evaluation view of the middle without `rng`.

        Raises:
            Unreadable: the file cannot be decoded, or is too short and such are refused; the message names it.
        """
        return self.clip(index, rng)

    def clip(
        self, index: int, rng: torch.Generator | None = None, number: int = 0, of: int = 1
    ) -> UInt8[Tensor, "C T H W"]:
        """The clip `number` of `of` that share the video among them; otherwise as `observe`."""
        view = self.reading.view
        frames = self.frames(index, partial(self.choose, index, rng=rng, clip=number, clips=of))
        return view.evaluation(frames) if rng is None else view.training(frames, rng)

    def choose(
        self, index: int, timeline: Timeline, rng: torch.Generator | None, clip: int, clips: int
    ) -> Int64[ndarray, " T"]:
        """Which frames of a video make a clip; see `Sampling.choose`."""
        return self.reading.sampling.choose(timeline, rng, clip, clips)

    def frames(self, index: int, choose: Choose) -> UInt8[ndarray, "T H W 3"]:
        """The chosen frames of a video."""
        return read_clip(self.path(index), choose, self.reading.decoder)

    def with_files(self, paths: PathTable, factors: dict[str, Labels]) -> VideoFiles:
        """Other videos below the same folder, read the same way."""
        return VideoFiles(self.root, paths, self.reading, factors)

    def fingerprint(self) -> str:
        """That of the files, with how clips are taken from them."""
        return hashlib.sha256(f"{super().fingerprint()} {self.reading.sampling}".encode()).hexdigest()


class SeveralClips(Observations):
    """Several clips of every video, each an observation of its own: all of the first video, then all of the second.

    Args:
        files: the videos.
        clips: how many clips each gives.
    """

    def __init__(self, files: VideoFiles, clips: int):
        self.files, self.clips = files, clips
        self.shape = files.shape
        self.factors = {
            name: Labels(np.repeat(labels.index, clips), labels.names) for name, labels in files.factors.items()
        }

    def __len__(self) -> int:
        return len(self.files) * self.clips

    def observe(self, index: int, rng: torch.Generator | None = None) -> UInt8[Tensor, "C T H W"]:
        """As `VideoFiles.observe`, from the clip's share of the video."""
        video, clip = divmod(index, self.clips)
        return self.files.clip(video, rng, clip, self.clips)

    def name(self, index: int) -> str:
        """The file of a clip."""
        return self.files.name(index // self.clips)

    def fingerprint(self) -> str:
        """That of the videos, with the number of clips."""
        return f"{self.files.fingerprint()}-{self.clips}"
