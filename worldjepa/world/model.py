"""A trained encoder and predictor as a model of the world: encode once, then imagine what actions lead to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder
from worldjepa.nn.actions import ActionSpec
from worldjepa.types import Tokens


class Frames(NamedTuple):
    """Encoded frames `[B, T, n, D]` and where in a frame their tokens stand, (h, w)."""

    x: Float[Tensor, "B T n D"]
    pos: Float[Tensor, "n 2"]
    state: Float[Tensor, "B T S"] | None = None
    """What else is known of each frame, such as proprioception, for models that take it; not normalised."""


class Rollout(NamedTuple):
    """What S candidates of H steps lead to in each of B tasks."""

    states: Float[Tensor, "B S H n D"]
    """The frame after every action."""
    actions: Float[Tensor, "B S H W"]
    spread: Float[Tensor, "B S H"] | None
    """Where several predictors imagine, the standard deviation between them, mean over features."""
    evaluations: int
    """Steps that predictors took for each task."""


@final
class WorldModel(nn.Module):
    """Encoder and predictor, and nothing of the training.

    With several predictors, trained apart on the same encoder, every one imagines its own future; states are their mean, and
    how far they lie apart tells how little is known.

    Args:
        encoder: encodes frames; each by itself, or causally.
        predictors: one, which may be an ensemble in itself, or several.

    Raises:
        UserError: there is none, or they expect different actions.
    """

    def __init__(self, encoder: Encoder, predictors: Dynamics | Sequence[Dynamics]) -> None:
        super().__init__()
        given = [predictors] if isinstance(predictors, Dynamics) else predictors
        members = [member for predictor in given for member in predictor.members()]
        if not members:
            raise UserError("a world model needs at least one predictor")
        widths = {0 if member.actions is None else member.actions.whole for member in members}
        if len(widths) > 1:
            raise UserError(f"the predictors of an ensemble expect actions of different widths: {sorted(widths)}")
        self.encoder = encoder
        self.predictors = nn.ModuleList(members)

    @property
    def members(self) -> list[Dynamics]:
        """The predictors."""
        return [cast(Dynamics, member) for member in self.predictors]

    @property
    def history(self) -> int:
        """Frames that a prediction looks back at."""
        return max(member.history for member in self.members)

    @property
    def actions(self) -> ActionSpec:
        """What actions the model was trained with.

        Raises:
            UserError: nobody acts in its world.
        """
        spec = self.members[0].actions
        if spec is None:
            raise UserError("this model was trained without actions: there is nothing to plan")
        return spec

    @property
    def states(self) -> int:
        """Numbers of the state that it must be told with every frame, S."""
        spec = self.members[0].actions
        return 0 if spec is None else spec.whole - spec.width

    def encode(self, obs: Shaped[Tensor, "B T ..."], state: Float[Tensor, "B T S"] | None = None) -> Frames:
        """Encode whole windows, frames in the order of time; the state goes along as it is.

        Raises:
            UserError: the encoder does not take such observations.
        """
        tokens: Tokens = self.encoder(obs)
        grid = self.encoder.grid(obs.shape[1:])
        n = grid.h * grid.w
        return Frames(tokens.x.reshape(len(obs), grid.t, n, -1), tokens.pos[0, :n, 1:], state)

    def predict(
        self, history: Frames, acting: Float[Tensor, "B T W"] | Float[Tensor, "B T 0"] | None = None
    ) -> Float[Tensor, "B n D"]:
        """The frame after the last one, where `acting` leaves each of the frames; the mean of all predictors."""
        b, t = history.x.shape[:2]
        raw = history.x.new_zeros(b, t, 0) if acting is None else acting
        raw = torch.cat([raw, self._told(history)], -1)
        steps = [member.step(history.x, history.pos, member.normalised(raw)) for member in self.members]
        return torch.stack(steps).mean(0)

    def rollout(
        self, history: Frames, actions: Float[Tensor, "B S H W"], past: Float[Tensor, "B P W"] | None = None
    ) -> Rollout:
        """Imagine all candidates. The history is neither encoded nor copied again: only what predictors look back at is.

        Args:
            history: at least one frame.
            actions: the candidates.
            past: the actions between the frames of the history, one fewer than frames; needed where there are two or more.

        Raises:
            UserError: the model takes states, and the history tells none. Those of imagined frames follow by their rules
                (`worldjepa.nn.states.Follows`).
        """
        every = self._imagined(history, actions, past)
        spread = every.std(0).mean((-1, -2)) if len(every) > 1 else None
        return Rollout(every.mean(0), actions, spread, actions.shape[1] * actions.shape[2] * len(every))

    def _imagined(
        self, history: Frames, actions: Float[Tensor, "B S H W"], past: Float[Tensor, "B P W"] | None
    ) -> Float[Tensor, "K B S H n D"]:
        """What each of the K predictors imagines by itself."""
        b, s, h, _ = actions.shape
        kept = min(self.history, history.x.shape[1])
        done = actions.new_zeros(b, 0, actions.shape[-1]) if kept == 1 else self._past(past, kept)
        sequence = torch.cat([done[:, None].expand(-1, s, -1, -1), actions], 2).flatten(0, 1)  # [B*S, kept-1+H, W]
        conditions = self._with_states(sequence, self._told(history)[:, -kept:].repeat_interleave(s, 0))
        first = history.x[:, -kept:].repeat_interleave(s, 0)  # [B*S, kept, n, D]
        paths = []
        for member in self.members:
            acting = member.normalised(conditions)
            frames = list(first.unbind(1))
            for step in range(h):
                seen = slice(max(0, kept + step - member.history), kept + step)
                frames.append(member.step(torch.stack(frames[seen], 1), history.pos, acting[:, seen]))
            paths.append(torch.stack(frames[kept:], 1).reshape(b, s, h, *first.shape[2:]))
        return torch.stack(paths)

    def _told(self, history: Frames) -> Float[Tensor, "B T S"]:
        """The states of the history; of no numbers where the model takes none."""
        if not self.states:
            return history.x.new_zeros(*history.x.shape[:2], 0)
        if history.state is None or history.state.shape[-1] != self.states:
            there = "none" if history.state is None else history.state.shape[-1]
            raise UserError(f"this model must be told {self.states} numbers of the state with every frame, not {there}")
        return history.state

    def _with_states(
        self, acting: Float[Tensor, "R T W"], known: Float[Tensor, "R K S"]
    ) -> Float[Tensor, "R T V"] | Float[Tensor, "R T W"]:
        """What acts with the states of the frames that it leaves, of which the first are known."""
        if not self.states:
            return acting
        states = list(known.to(acting.dtype).unbind(1))
        for time in range(len(states) - 1, acting.shape[1] - 1):
            states.append(self.actions.after(states[time], acting[:, time]))
        return torch.cat([acting, torch.stack(states, 1)], -1)

    @staticmethod
    def _past(past: Tensor | None, kept: int) -> Tensor:
        if past is None or past.shape[1] < kept - 1:
            raise ValueError(f"{kept} frames of history need the {kept - 1} actions between them")
        return past[:, past.shape[1] - (kept - 1) :]

    def energy(
        self,
        x: Shaped[Tensor, "B T ..."],
        y: Shaped[Tensor, "B H ..."],
        actions: Float[Tensor, "B A W"] | None = None,
        state: Float[Tensor, "B T S"] | None = None,
    ) -> Float[Tensor, " B"]:
        """How badly `y` fits as the future of `x`: the mean squared distance of its representation from what is predicted.

        Args:
            x: frames that were seen.
            y: frames that would follow them.
            actions: all actions from the first frame of `x` to the last of `y`, `A = T + H - 1`.
            state: of the frames of `x`, for models that take it.

        Source: Dawid and LeCun (arXiv 2306.02572): the energy of a JEPA without latent variables.
        """
        imagined, true = self._futures(x, y, actions, state)
        apart: Tensor = (imagined.mean(0) - true).square().mean((1, 2, 3))
        return apart

    def free_energy(
        self,
        x: Shaped[Tensor, "B T ..."],
        y: Shaped[Tensor, "B H ..."],
        actions: Float[Tensor, "B A W"] | None = None,
        beta: float = math.inf,
        state: Float[Tensor, "B T S"] | None = None,
    ) -> Float[Tensor, " B"]:
        """How badly `y` fits whichever predictor it fits best: which one imagines is a latent variable.

        Args:
            x: see `energy`.
            y: see `energy`.
            actions: see `energy`.
            beta: how strictly only the best one counts. Infinity gives the least of the members' energies; other values
                `-1/beta log mean exp(-beta E)`, which goes to the mean energy as beta goes to 0.
            state: see `energy`.

        Raises:
            UserError: beta is not positive.

        Source: Dawid and LeCun (arXiv 2306.02572): the free energy, here of a discrete latent variable.
        """
        if not beta > 0:
            raise UserError(f"beta must be positive, not {beta}")
        imagined, true = self._futures(x, y, actions, state)
        each = (imagined - true).square().mean((2, 3, 4))  # [K, B]
        if math.isinf(beta):
            return each.amin(0)
        return (math.log(len(each)) - torch.logsumexp(-beta * each, 0)) / beta

    def _futures(
        self,
        x: Shaped[Tensor, "B T ..."],
        y: Shaped[Tensor, "B H ..."],
        actions: Float[Tensor, "B A W"] | None,
        state: Float[Tensor, "B T S"] | None,
    ) -> tuple[Float[Tensor, "K B H n D"], Float[Tensor, "B H n D"]]:
        """What each predictor imagines to come after `x`, and the representation of `y`."""
        t, h = x.shape[1], y.shape[1]
        both = self.encode(torch.cat([x, y], 1))
        every = both.x.new_zeros(len(x), t + h - 1, 0) if actions is None else actions
        imagined = self._imagined(Frames(both.x[:, :t], both.pos, state), every[:, None, t - 1 :], every[:, : t - 1])
        return imagined[:, :, 0], both.x[:, t:]
