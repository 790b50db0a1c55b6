"""The embedded clips as a data set: drawn and encoded once, then read from their files like any other video."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modalities.video.encode import write_video
from modalities.video.moving import DIRECTIONS, KINDS, VERSION, clip_labels, draw_clips
from modalities.video.observations import Reading, VideoFiles, checked_reading
from worldjepa.data import DataSource, Labels, ProbeSplits
from worldjepa.data.cache import Key, cached_folder, fingerprint
from worldjepa.data.paths import PathTable
from worldjepa.errors import UserError

PROBE_SIZES = {"train": 2_000, "val": 500, "test": 1_000}
"""Clips in each split for probes."""

SMALLEST = 16
"""Side, in pixels, below which nothing can be recognised."""

RATE = 24
"""Frames a second that the files say."""


class Clips(VideoFiles):
    """The files of an embedded set, which are known by what they were made from, wherever they lie.

    Args:
        root: the folder.
        paths: the files.
        reading: how clips are read.
        factors: what is known about each file.
        made_from: identifies what they were made from.
    """

    def __init__(self, root: str, paths: PathTable, reading: Reading, factors: dict[str, Labels], made_from: str):
        super().__init__(root, paths, reading, factors)
        self.made_from = made_from

    def fingerprint(self) -> str:
        """That of what the files were made from, with how clips are taken from them."""
        text = f"{self.made_from} {self.shape} {self.reading.sampling}"
        return hashlib.sha256(text.encode()).hexdigest()


class Moving(DataSource):
    """Grey clips of textures that drift in one of eight directions, as H.264 files; see `modalities.video.moving`.

    They are drawn and encoded on first use and cached. The factors are `"direction"` and `"texture"`. Probes have 2,000 clips
    for training, 500 for validation and 1,000 for testing.

    Args:
        size: side of the frames in pixels, even.
        frames: frames of a clip.
        stride: every how many frames of a file one is taken.
        length: frames of a file; a longer file than a clip takes lets training clips begin at different places.
        count: the number of clips to learn from.
        noise: standard deviation of the noise, where intensities run from 0 to 1.
        channels: 1, or 3 for three equal channels.
        seed: decides every clip.
        cache: where to keep the files, by default `$WORLDJEPA_HOME/datasets`.
        decoder: `auto`, `decord` or `pyav`; decord cannot copy frames of 48 pixels, and `auto` would try it in vain each time.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        size: int = 48,
        frames: int = 8,
        stride: int = 2,
        length: int = 16,
        count: int = 6_000,
        noise: float = 0.2,
        channels: int = 1,
        seed: int = 0,
        cache: str | None = None,
        decoder: str = "pyav",
    ):
        if size < SMALLEST or size % 2:
            raise UserError(f"size must be even and at least {SMALLEST} pixels: {size}")
        if count < 1:
            raise UserError(f"count must be at least 1: {count}")
        if noise < 0:
            raise UserError(f"noise must not be negative: {noise}")
        self.reading = checked_reading(frames, stride, None, "refuse", 1, size, channels, None, 0.0, decoder)
        span = (frames - 1) * stride + 1
        if length < span:
            raise UserError(f"length must be at least {span} for {frames} frames with stride {stride}: {length}")
        self.size, self.length, self.count, self.noise = int(size), int(length), int(count), float(noise)
        self.channels, self.seed, self.cache = channels, int(seed), cache

    def train(self) -> Clips:
        """The clips to learn from."""
        return self._split("train", self.count)

    def probe(self) -> ProbeSplits:
        """Labelled splits, none of which shares a clip with another or with the training clips."""
        return ProbeSplits(*(self._split(f"probe_{name}", count) for name, count in PROBE_SIZES.items()))

    def _split(self, split: str, count: int) -> Clips:
        key: Key = {
            "set": "moving",
            "version": VERSION,
            "size": self.size,
            "length": self.length,
            "noise": self.noise,
            "seed": self.seed,
            "split": split,
            "count": count,
        }

        def fill(folder: Path) -> None:
            drawn = draw_clips(count, self.size, self.length, self.noise, self.seed, split)
            for number, clip in enumerate(drawn):
                write_video(folder / _name(number), clip, RATE)

        folder = cached_folder("moving", key, fill, self.cache)
        labels = clip_labels(count, self.seed, split)
        factors = {
            "direction": Labels(labels["direction"], list(DIRECTIONS)),
            "texture": Labels(labels["texture"], list(KINDS)),
        }
        return Clips(str(folder), PathTable(map(_name, range(count))), self.reading, factors, fingerprint(key))


def _name(number: int) -> str:
    return f"{number:06d}.mp4"
