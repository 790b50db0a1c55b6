"""Sets of episodes that windows are cut from, in memory or on disk."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from modalities.trajectory import hdf5, npz
from modalities.trajectory.sizes import Cut, Sizes, cut
from worldjepa.data.paths import Kind, scan
from worldjepa.errors import Unreadable, UserError
from worldjepa.world.episodes import Episode

KIND = Kind("episodes", (".npz", ".h5", ".hdf5"))
"""The files that are taken for episodes."""


class Episodes(ABC):
    """Episodes by number. They are pickled to data workers, so they hold no open files."""

    frames: Int64[ndarray, " E"]
    """Frames of each episode; 0 where it cannot be read."""

    @abstractmethod
    def read(self, episode: int, start: int, stop: int, skip: int) -> Cut:
        """Every `skip`-th frame from `start` on and before `stop`, and all actions between the first and the last of them.

        Raises:
            Unreadable: the episode cannot be read; the message names it.
        """

    @abstractmethod
    def sizes(self) -> Sizes:
        """The shapes of one frame, which all episodes share."""

    @abstractmethod
    def name(self, episode: int) -> str:
        """What a person would call the episode."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes whenever the episodes or their order change."""


class InMemory(Episodes):
    """Episodes that are there already.

    Args:
        episodes: the episodes, all of one kind.

    Raises:
        UserError: there are none, or they differ in their shapes.
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        if not episodes:
            raise UserError("there are no episodes")
        self.episodes = list(episodes)
        self.frames = np.array([len(episode.observations) for episode in episodes], np.int64)
        first = self.sizes()
        for number, episode in enumerate(episodes):
            if Sizes.of(episode).shapes != first.shapes:
                raise UserError(f"episode {number} has the shapes {Sizes.of(episode).shapes}, the first {first.shapes}")

    def read(self, episode: int, start: int, stop: int, skip: int) -> Cut:
        """A stretch of an episode."""
        return cut(self.episodes[episode], start, stop, skip)

    def sizes(self) -> Sizes:
        """Those of the first episode."""
        return Sizes.of(self.episodes[0])

    def name(self, episode: int) -> str:
        """Its number."""
        return f"episode {episode}"

    def fingerprint(self) -> str:
        """SHA-256 over everything."""
        digest = hashlib.sha256()
        for episode in self.episodes:
            for value in episode:
                if value is not None:
                    digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


class Format(NamedTuple):
    """How one kind of file is read."""

    scan: Callable[[Path], list[tuple[str, Sizes]]]
    """The episodes in a file: how each is called in it, and its sizes."""
    read: Callable[[Path, str], Episode]
    """One of them, whole."""


FORMATS = {
    ".npz": Format(npz.scan, npz.read),
    ".h5": Format(hdf5.scan, hdf5.read),
    ".hdf5": Format(hdf5.scan, hdf5.read),
}


class OnDisk(Episodes):
    """The episodes in the files below a folder, in the order of their names. See `npz` and `hdf5` for what files hold.

    Files that cannot be read count as one episode each, which is unreadable: they are listed like damaged pictures.

    Args:
        root: the folder.

    Raises:
        UserError: there are no such files, or none of them can be read.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        table = scan(root, KIND)
        self.where: list[tuple[str, str]] = []
        frames: list[int] = []
        self.common: Sizes | None = None
        problem = ""
        for file in (table[i] for i in range(len(table))):
            path = Path(root, file)
            try:
                found = FORMATS[path.suffix.lower()].scan(path)
            except Unreadable as error:
                found, problem = [("", Sizes(0, (), 0, None))], problem or str(error)
            for inside, sizes in found:
                self.where.append((file, inside))
                frames.append(sizes.frames)
                self.common = self.common or (sizes if sizes.frames else None)
        if self.common is None:
            raise UserError(f"none of the {len(self.where)} episodes below {root} can be read: {problem}")
        self.frames = np.array(frames, np.int64)

    def read(self, episode: int, start: int, stop: int, skip: int) -> Cut:
        """A stretch of an episode.

        Raises:
            Unreadable: its file is damaged, gone, or of other shapes than the others.
        """
        path, inside = self._path(episode), self.where[episode][1]
        whole = FORMATS[path.suffix.lower()].read(path, inside)
        found = Sizes.of(whole)
        if found.shapes != self.sizes().shapes:
            raise Unreadable(f"{self.name(episode)}: has the shapes {found.shapes}, the others {self.sizes().shapes}")
        if found.frames < stop:
            raise Unreadable(f"{self.name(episode)}: has {found.frames} frames, {stop} are needed")
        return cut(whole, start, stop, skip)

    def sizes(self) -> Sizes:
        """Those of the first episode that can be read."""
        assert self.common is not None
        return self.common

    def _path(self, episode: int) -> Path:
        return Path(self.root, self.where[episode][0])

    def name(self, episode: int) -> str:
        """Its file, and where in it."""
        inside = self.where[episode][1]
        return str(self._path(episode)) + (f":{inside}" if inside else "")

    def fingerprint(self) -> str:
        """SHA-256 over the names of the files with their sizes, and over the episodes' lengths."""
        digest = hashlib.sha256(self.frames.tobytes())
        for file, inside in self.where:
            try:
                size = os.stat(os.path.join(self.root, file)).st_size
            except OSError:  # gone meanwhile: reading it will tell
                size = -1
            digest.update(f"{file}\0{inside}\0{size}\n".encode())
        return digest.hexdigest()
