"""Episodes that were recorded in an environment of gymnasium, in which plans can then be tried."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from modalities.trajectory.episodes import OnDisk
from modalities.trajectory.windows import Windows
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.errors import UserError
from worldjepa.world.environment import Environment, Simulated
from worldjepa.world.goals import open_gym
from worldjepa.world.known import Known
from worldjepa.world.record import GYM, SETTINGS


class Recorded(DataSource, Simulated):
    """What `worldjepa collect env=gymnasium:NAME` wrote, and the environment that it was recorded in.

    The episodes are looked for when they are first needed: to plan, the environment is enough.

    Args:
        name: the environment's registered name.
        root: the folder of episodes.
        view: observe what the environment gives, `observations`, or the `pixels` that it draws.
        key: which of several observations.
        size: side of drawn pictures.
        history: frames of a window that are seen.
        horizon: frames of a window that are asked for.
        skip: every how many frames of an episode one is taken.
        known: what is known about the environment's state, where worldjepa does not know it.
        max_bad_fraction: training stops when more than this share of the windows it has seen cannot be read.

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(
        self,
        name: str,
        root: str,
        view: str = "pixels",
        key: str | None = None,
        size: int = 64,
        history: int = 1,
        horizon: int = 16,
        skip: int = 1,
        known: Known | None = None,
        max_bad_fraction: float = 0.05,
    ) -> None:
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.name, self.root, self.view, self.key, self.size, self.known = name, root, view, key, size, known
        self.history, self.horizon, self.skip = history, horizon, skip

    @property
    def channels(self) -> int:
        """The length of a frame's first axis."""
        return self._windows.shape[1]

    def environment(self) -> Environment:
        """The environment, with nothing begun in it."""
        return open_gym(self.name, self.view, self.key, self.size, self.known)

    @functools.cached_property
    def _windows(self) -> Windows:
        self._check_settings()
        return Windows(OnDisk(self.root), self.history, self.horizon, self.skip)

    def _check_settings(self) -> None:
        """Refuse episodes of which is known that they were recorded elsewhere or seen in another way."""
        file = Path(self.root, SETTINGS)
        if not file.is_file():
            return
        try:
            noted: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{file} is damaged: {error}") from error
        usual = {"view": "observations", "key": None, "size": 64}
        here = {"env": GYM + self.name, "view": self.view, "key": self.key}
        here |= {"size": self.size} if self.view == "pixels" else {}
        for key, value in here.items():
            found = noted.get(key, usual.get(key))
            if found != value:
                raise UserError(
                    f"{self.root} was recorded with {key}={found}, but the data are said to have {key}={value}"
                )

    def train(self) -> Windows:
        """The windows of all episodes."""
        return self._windows

    def probe(self) -> None:
        """There are no labels."""
