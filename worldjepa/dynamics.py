"""Predictors that step through time: what is asked at a time is answered from frames and actions before it alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import Predictor
from worldjepa.nn.actions import ActionSpec
from worldjepa.types import Tokens


class Dynamics(Predictor):
    """Predicts the next frame from the last ones, again and again.

    Frames that were seen are taken as they are, all others as they were predicted. Where all were seen, that is teacher
    forcing; where only the first were, it is a rollout.

    Subclasses say how one step is taken. R rollouts run side by side; a frame holds n tokens of width D.

    Args:
        input_dim: width of the frames' tokens, D.
        history: frames that a step looks back at.
        actions: what acts between frames; None for a world in which nobody acts.
    """

    def __init__(self, input_dim: int, history: int, actions: ActionSpec | None) -> None:
        super().__init__()
        if history < 1:
            raise UserError(f"predictor.history must be at least 1, not {history}")
        self.input_dim = input_dim
        self.history = history
        self.actions = actions

    @abstractmethod
    def ahead(
        self, frames: Float[Tensor, "R T n D"], pos: Float[Tensor, "n 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A n D"]:
        """The frames that follow the last `answers` of the given ones.

        What follows a frame is predicted from it, from those before it (`history` of them at most, fewer at the beginning), and
        from the actions that leave them.

        Args:
            frames: the frames so far.
            pos: where in a frame its tokens stand, (h, w).
            acting: for each frame the normalised actions that leave it, and its states if the model takes any, as `ActionSpec`
                lays them out; W is 0 where nobody acts.
            answers: how many predictions are wanted, at least 1.
        """

    def members(self) -> Sequence[Dynamics]:
        """Those that are trained, each by a loss of its own: by default itself alone."""
        return [self]

    def step(
        self, frames: Float[Tensor, "R T n D"], pos: Float[Tensor, "n 2"], acting: Float[Tensor, "R T W"]
    ) -> Float[Tensor, "R n D"]:
        """The frame that follows the last one."""
        return self.ahead(frames[:, -self.history :], pos, acting[:, -self.history :], 1)[:, 0]

    def normalised(self, acting: Float[Tensor, "*b W"]) -> Float[Tensor, "*b W"]:
        """Actions, with states where the model takes any, as `ahead` takes them."""
        if self.actions is None:
            return acting[..., :0]
        normalised: Float[Tensor, "*b W"] = self.actions(acting)
        return normalised

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Predict x `[B, M, Q, D]` at `query` from context x `[B, C, K, D]` and actions x `[B, A, W]` at the times they leave.

        Where the model takes states, each action is followed by those of the frame that it leaves.

        Raises:
            UserError: frames are seen in part, the beginning of a context or what lies before it is asked for, or actions are
                missing.
        """
        seen = _laid_out(context, query)
        b, m, times = seen.there.shape
        acting = self._acting(cond, seen.origin, times).flatten(0, 1)  # [B*M, T, W]
        given = seen.frames.flatten(0, 1)  # [B*M, T, n, D]
        there = seen.there.flatten(0, 1)  # [B*M, T]
        # As long as every frame was seen, one call answers for all of them.
        whole = there.all(0)
        run = times if bool(whole.all()) else int((~whole).int().argmax())
        frames = given[:, :run]
        answers = [self.ahead(frames, seen.pos, acting[:, :run], run)]
        for time in range(run, times):
            predicted = answers[-1][:, -1]  # [B*M, n, D]
            now = torch.where(there[:, time, None, None], given[:, time].to(predicted.dtype), predicted)
            frames = torch.cat([frames, now[:, None].to(frames.dtype)], 1)
            if time < times - 1:
                answers.append(self.step(frames, seen.pos, acting[:, : time + 1])[:, None])
        found = torch.cat(answers, 1)  # [B*M, T or T-1, n, D]
        flat = found.reshape(b, m, -1, found.shape[-1])  # [B, M, T*n, D]
        index = (seen.asked - len(seen.pos))[..., None]  # the answer for a frame stands at the frame before it
        return Tokens(flat.gather(2, index.expand(-1, -1, -1, flat.shape[-1])), query)

    def _acting(self, cond: Tokens | None, origin: Int[Tensor, "B M"], times: int) -> Float[Tensor, "B M T W"]:
        """The normalised actions that leave each frame, by time since the beginning of each set."""
        b, m = origin.shape
        if self.actions is None:
            return torch.zeros(b, m, times, 0, device=origin.device)
        if cond is None:
            raise UserError(
                "this predictor needs actions as its condition; data without them need predictor.actions=null"
            )
        normalised = self.normalised(cond.x)  # [B, A, W]
        time = _whole(cond.pos[..., 0])  # [B, A]
        relative = time[:, None] - origin[..., None]  # [B, M, A]
        inside = (relative >= 0) & (relative < times)
        # What acts outside goes into a place of its own that is cut off; where nobody acts, the mean action does.
        place = torch.where(inside, relative, times)[..., None].expand(-1, -1, -1, normalised.shape[-1])
        filled = normalised.new_zeros(b, m, times + 1, normalised.shape[-1])
        return filled.scatter(2, place, normalised[:, None].expand(-1, m, -1, -1))[:, :, :times]


class LaidOut(NamedTuple):
    """Contexts and questions by the time since the first frame of each set, T times in all."""

    frames: Float[Tensor, "B M T n D"]
    """The frames that were seen; 0 where none was."""
    there: Bool[Tensor, "B M T"]
    """Which were seen."""
    origin: Int[Tensor, "B M"]
    """The time of each set's first frame."""
    pos: Float[Tensor, "n 2"]
    """Where in a frame its tokens stand."""
    asked: Int[Tensor, "B M Q"]
    """The place of every question among T*n."""


def _laid_out(context: Tokens, query: Float[Tensor, "B M Q 3"]) -> LaidOut:
    b, m, _, _ = query.shape
    x, place = context.x.expand(b, m, -1, -1), context.pos.expand(b, m, -1, -1)
    pos, cell = torch.unique(place[..., 1:].reshape(-1, 2), dim=0, return_inverse=True)  # [n, 2]
    n, cell = len(pos), cell.reshape(b, m, -1)
    asked_cell = (query[..., None, 1:] == pos).all(-1)  # [B, M, Q, n]
    time, asked_time = _whole(place[..., 0]), _whole(query[..., 0])
    origin = time.amin(-1)  # [B, M]
    time, asked_time = time - origin[..., None], asked_time - origin[..., None]
    if bool((asked_time < 1).any()) or not bool(asked_cell.any(-1).all()):
        raise UserError(
            "a predictor of the future is asked for the beginning of what it has seen, for what lies before it, or for a place "
            "that is in no frame: choose masks=future"
        )
    times = 1 + int(torch.maximum(time.amax(), asked_time.amax()))
    index = time * n + cell  # [B, M, K]
    count = x.new_zeros(b, m, times * n).scatter_add(2, index, torch.ones_like(x[..., 0])).view(b, m, times, n)
    if not bool((count == count[..., :1]).all()):
        raise UserError("a predictor of the future sees whole frames only: choose masks=future")
    frames = x.new_zeros(b, m, times * n, x.shape[-1]).scatter(2, index[..., None].expand_as(x), x)
    asked = asked_time * n + asked_cell.int().argmax(-1)
    return LaidOut(frames.view(b, m, times, n, -1), count[..., 0] > 0, origin, pos, asked)


def _whole(time: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    return time.round().long()
