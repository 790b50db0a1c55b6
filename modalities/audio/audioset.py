"""AudioSet, of which nobody has everything."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator, Sequence

from modalities.audio.files import KIND, SoundFiles, checked_view
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.data.paths import PathTable, check_folder, nearest_entry, scan
from worldjepa.data.tables import some
from worldjepa.errors import UserError

SEGMENTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv")
"""The lists that training takes those of that are there."""

_NAME = re.compile(r"Y?(?P<id>[\w-]{11})(?:[_-]\d+(?:\.\d+)?)*")
"""`<id>`, `<id>_<start>`, `<id>_<start>_<end>`, with or without a Y before it: as the common downloaders name clips."""


class AudioSet(DataSource):
    """Clips of AudioSet's lists, as many as there are; how many are missing is told.

    The clips lie anywhere below `root` in files whose names begin with the video's id, e.g. `train/--aE2O5G5WE_0.000.flac`;
    clips that no list names, such as those for evaluation, are left out. A clip has several labels, which probes for one
    class cannot use, so there are none: give a labelled set of your own to `worldjepa eval`.

    Args:
        root: the folder with clips and lists.
        segments: the lists below `root`; by default those of the two training lists that are there.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a clip is heard, by default as much as the frames span.
        max_bad_fraction: training stops when more than this share of the clips it has seen cannot be read.

    Raises:
        UserError: there is no list, or none of the listed clips, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        segments: Sequence[str] | None = None,
        front_end: str = "kaldi_16k",
        frames: int = 1024,
        seconds: float | None = 10.0,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        there = [name for name in SEGMENTS if os.path.isfile(os.path.join(self.root, name))]
        files = list(segments) if segments is not None else there
        if not files:
            raise UserError(f"{self.root} has none of AudioSet's lists of clips: {', '.join(SEGMENTS)}")
        listed = [clip for name in files for clip in read_segments(os.path.join(self.root, name))]
        found = {clip: path for path in scan(self.root, KIND) if (clip := clip_id(path)) is not None}
        self._paths = sorted(found[clip] for clip in set(listed) & set(found))
        self.missing = sorted(set(listed) - set(found))
        if not self._paths:
            raise UserError(
                f"none of the {len(self.missing)} clips listed in {', '.join(files)} is in {self.root}: looked for files "
                f"whose names begin with the video's id, such as {some(self.missing)}"
            )
        if self.missing:
            warnings.warn(
                f"{len(self._paths):,} of {len(set(listed)):,} listed clips are in {self.root}; training goes on without the "
                f"{len(self.missing):,} that are missing",
                stacklevel=2,
            )

    def train(self) -> SoundFiles:
        """The listed clips that are there."""
        return SoundFiles(self.root, PathTable(self._paths), self.view)

    def probe(self) -> None:
        """None: the clips have several labels each."""


def clip_id(path: str) -> str | None:
    """The id of the video that a clip's file is named after, if it is."""
    match = _NAME.fullmatch(os.path.splitext(os.path.basename(path))[0])
    return match["id"] if match else None


def read_segments(path: str) -> Iterator[str]:
    """The ids in one of AudioSet's lists: `id, start, end, "labels"` a line, after lines that begin with `#`.

    Raises:
        UserError: there is no such file.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path} does not exist{nearest_entry(path)}")
    with open(path, encoding="utf-8", newline="") as file:
        lines = (line for line in file if line.strip() and not line.startswith("#"))
        yield from (row[0].strip() for row in csv.reader(lines, skipinitialspace=True))
