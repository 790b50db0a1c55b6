"""Which frames make a clip."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from modalities.video.frames import Timeline
from worldjepa.errors import Unreadable, UserError

Short = Literal["hold", "loop", "refuse"]


class Sampling(NamedTuple):
    """How a clip is taken from a video: every `stride`-th frame, or the frames that are shown `fps` times a second."""

    frames: int
    stride: int
    fps: float | None
    """Takes the place of the stride. A frame counts as shown until the next one begins, whatever the video's own rate."""
    short: Short
    """A video shorter than the clip: its last frame is held, it begins again, or it is refused."""

    def choose(
        self, timeline: Timeline, rng: torch.Generator | None = None, clip: int = 0, clips: int = 1
    ) -> Int64[ndarray, " frames"]:
        """The frames of a clip: from a random place, or from the middle without `rng`.

        Args:
            timeline: when the video's frames are shown.
            rng: decides the place.
            clip: which of `clips`: the places where a clip can begin are shared evenly among them, in order.
            clips: how many.

        Raises:
            Unreadable: the video is too short and such are refused.
        """
        share = 0.5 if rng is None else float(torch.rand((), generator=rng, dtype=torch.float64))
        return self.at(timeline, (clip + share) / clips)

    def at(self, timeline: Timeline, share: float) -> Int64[ndarray, " frames"]:
        """The frames of a clip that has this share of the places where one can begin before it, from 0 to less than 1.

        Raises:
            Unreadable: the video is too short and such are refused.
        """
        return self._by_stride(timeline, share) if self.fps is None else self._by_time(timeline, share, self.fps)

    def _by_stride(self, timeline: Timeline, share: float) -> Int64[ndarray, " frames"]:
        span = (self.frames - 1) * self.stride + 1
        places = timeline.count - span + 1
        steps = np.arange(self.frames) * self.stride
        if places > 0:
            return int(share * places) + steps
        self._refuse(f"{timeline.count} frames", f"{span}")
        return steps % timeline.count if self.short == "loop" else steps.clip(max=timeline.count - 1)

    def _by_time(self, timeline: Timeline, share: float, fps: float) -> Int64[ndarray, " frames"]:
        first, length = timeline.starts[0], timeline.end - timeline.starts[0]
        steps = np.arange(self.frames) / fps
        # Half a millisecond of grace: containers round time stamps.
        spare = length - steps[-1] - 5e-4
        if spare > 0:
            times = share * spare + steps
        else:
            self._refuse(f"{length:.2f} s", f"{steps[-1]:.2f} s")
            times = steps % length if self.short == "loop" and length > 0 else steps
        shown = np.searchsorted(timeline.starts, first + times + 5e-4, side="right") - 1
        return shown.clip(0, timeline.count - 1).astype(np.int64)

    def _refuse(self, has: str, needs: str) -> None:
        if self.short == "refuse":
            raise Unreadable(f"is too short: it has {has}, a clip takes {needs} (short=hold or loop would take it)")


def checked_sampling(frames: int, stride: int, fps: float | None, short: str) -> Sampling:
    """Build a sampling.

    Raises:
        UserError: a value is out of its range.
    """
    if min(frames, stride) < 1:
        raise UserError(f"frames and stride must be at least 1: frames={frames}, stride={stride}")
    if fps is not None and not fps > 0:
        raise UserError(f"fps must be positive, or null to go by the stride: {fps}")
    if short not in ("hold", "loop", "refuse"):
        raise UserError(f"short must be hold, loop or refuse: '{short}'")
    return Sampling(int(frames), int(stride), None if fps is None else float(fps), short)  # type: ignore[arg-type]
