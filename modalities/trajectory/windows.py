"""Windows of episodes: a few frames in a row, and the actions between them."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
import torch

from modalities.trajectory.episodes import Episodes
from worldjepa.data import Observations
from worldjepa.data.views import Conditioned
from worldjepa.errors import Unreadable, UserError, unknown
from worldjepa.types import Tokens

Observe = Literal["observations", "proprioception"]


class Windows(Observations):
    """Every window of `history + horizon` frames of every episode, observed as `[T, *frame]`.

    The condition is the vector that acts between one frame and the next: the actions of all frames that are skipped, one after
    another, at the time of the frame that it leaves; with `proprioception` that of this frame stands behind them.

    Args:
        episodes: what to cut them from.
        history: frames that are seen.
        horizon: frames that are asked for.
        skip: every how many frames of an episode one is taken.
        observe: the `observations`, or in their place the `proprioception`.
        proprioception: give it as a part of the condition.
        in_memory: observing costs less than a trip to a worker process.

    Raises:
        UserError: a number is not positive, no episode is long enough, or there is no proprioception.
    """

    def __init__(
        self,
        episodes: Episodes,
        history: int,
        horizon: int,
        skip: int = 1,
        observe: str = "observations",
        proprioception: bool = False,
        in_memory: bool = False,
    ) -> None:
        if min(history, horizon, skip) < 1:
            raise UserError(
                f"history, horizon and skip must be at least 1: history={history}, horizon={horizon}, skip={skip}"
            )
        if observe not in get_args(Observe):
            raise unknown("observe", observe, get_args(Observe))
        sizes = episodes.sizes()
        wanted = [f"observe={observe}"] * (observe == "proprioception") + ["proprioception=true"] * bool(proprioception)
        if wanted and sizes.proprioception is None:
            raise UserError(f"data.{wanted[0]}, but the episodes hold none")
        self.told = bool(proprioception)
        self.episodes, self.frames, self.skip, self.body = episodes, history + horizon, skip, observe != "observations"
        frame = sizes.observation if sizes.proprioception is None or not self.body else (sizes.proprioception,)
        self.shape, self.factors, self.in_memory = (self.frames, *frame), {}, in_memory
        self.span = (self.frames - 1) * skip + 1
        """Frames of an episode that a window reaches over."""
        # An episode that cannot be read keeps a place, so that it is met and listed.
        starts = np.where(episodes.frames == 0, 1, np.maximum(0, episodes.frames - self.span + 1))
        self.ends = np.cumsum(starts)
        if not (episodes.frames >= self.span).any():
            raise UserError(
                f"no episode has the {self.span} frames of a window (history + horizon = {self.frames} frames, "
                f"every {skip}.); the longest has {int(episodes.frames.max())}"
            )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def _place(self, index: int) -> tuple[int, int]:
        """The episode of a window and the frame that it begins with."""
        episode = int(np.searchsorted(self.ends, index, side="right"))
        return episode, index - (int(self.ends[episode - 1]) if episode else 0)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Conditioned:
        """A window; windows are not augmented.

        Raises:
            Unreadable: the episode cannot be read, or its numbers are not finite.
        """
        episode, start = self._place(index)
        part = self.episodes.read(episode, start, start + self.span, self.skip)
        frames = part.proprioception if self.body and part.proprioception is not None else part.observations
        states = [part.proprioception[:-1]] if self.told and part.proprioception is not None else []
        numbers = [part.actions, *states, *([] if frames.dtype == np.uint8 else [frames])]
        if not all(np.isfinite(some).all() for some in numbers):
            raise Unreadable(f"{self.episodes.name(episode)}: some numbers are not finite")
        obs = torch.from_numpy(np.array(frames, np.uint8 if frames.dtype == np.uint8 else np.float32))
        acts = np.asarray(part.actions, np.float32).reshape(self.frames - 1, -1)  # [T-1, skip*A]
        acting = torch.from_numpy(np.concatenate([acts, *states], 1, dtype=np.float32))
        pos = torch.zeros(self.frames - 1, 3)
        pos[:, 0] = torch.arange(self.frames - 1)
        return Conditioned(obs, Tokens(acting, pos))

    def name(self, index: int) -> str:
        """The episode and the frame that the window begins with."""
        episode, start = self._place(index)
        return f"{self.episodes.name(episode)} from frame {start}"

    def fingerprint(self) -> str:
        """That of the episodes, with how windows are cut from them."""
        text = f"{self.episodes.fingerprint()} {self.shape} {self.skip} {self.body}{' told' * self.told}"
        return hashlib.sha256(text.encode()).hexdigest()
