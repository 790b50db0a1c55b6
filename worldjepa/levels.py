"""Levels above a JEPA: each predicts what the level below represents, in longer steps, from what is done meanwhile."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple, cast, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError, unknown
from worldjepa.future import Future
from worldjepa.interfaces import Encoder, Objective, TargetEncoder
from worldjepa.jepa import Above, compare
from worldjepa.nn.actions import ActionSpec
from worldjepa.targets import EMA, Shared
from worldjepa.types import Batch, Grid, Masks, Tokens

Answers = Literal["shared", "detached", "ema"]


class Timeline(NamedTuple):
    """What a level represents at every time of a window, and what is done from every time on."""

    x: Float[Tensor, "B T h w D"]
    acting: Float[Tensor, "B S W"] | None
    """What is done in the `step` frames that follow each time, `S = T - step`; None where nobody acts."""
    step: int
    """Frames of the lowest level from one state of this level to the next."""

    def detached(self) -> Timeline:
        """The same without a gradient."""
        return Timeline(self.x.detach(), None if self.acting is None else self.acting.detach(), self.step)


class Upward(Encoder):
    """Encodes what the level below represents, `[B, T, h, w, D]`, every token by itself.

    Args:
        dim: width of the representations.
        net: what makes one of a representation of the level below.
    """

    def __init__(self, dim: int, net: nn.Module) -> None:
        super().__init__()
        self.dim, self.net = dim, net

    @abstractmethod
    def width(self) -> int:
        """Width of the representations of the level below."""

    def grid(self, obs_shape: Sequence[int]) -> Grid:
        """The lattice of the level below.

        Raises:
            UserError: its representations have another width.
        """
        if len(obs_shape) != 4 or obs_shape[-1] != self.width():
            raise UserError(
                f"this level was built for representations of width {self.width()}, not of shape {tuple(obs_shape)}"
            )
        return Grid(*obs_shape[:3])

    def forward(self, obs: Tensor | Tokens, keep: Int[Tensor, "B C K"] | None = None) -> Tokens:
        """Encode all tokens, x `[B, N, D]`, or the kept ones, x `[B, C, K, D]`."""
        if isinstance(obs, Tokens):
            raise UserError("a level takes representations on their lattice, not tokens")
        pos = self.grid(obs.shape[1:]).pos(obs.device).expand(len(obs), -1, -1)  # [B, N, 3]
        below = Tokens(obs.flatten(1, 3), pos)
        seen = below if keep is None else below.select(keep)
        return Tokens(self.net(seen.x), seen.pos)


@final
class SameLatent(Upward):
    """The representations of the level below, as they are.

    Args:
        dim: their width.

    Source: HWM (arXiv 2604.03208): two time scales in one latent space.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, nn.Identity())

    def width(self) -> int:
        """Width of the representations of the level below."""
        return self.dim


@final
class OwnLatent(Upward):
    """Representations of this level's own, made by a network of two layers.

    Args:
        input_dim: width of the representations of the level below.
        dim: width of this level's.
        hidden: width of the hidden layer.

    Source: H-JEPA (arXiv 2610.06805).
    """

    def __init__(self, input_dim: int, dim: int, hidden: int = 128) -> None:
        if min(input_dim, dim, hidden) < 1:
            raise UserError(f"input_dim, dim and hidden must be at least 1: {input_dim}, {dim}, {hidden}")
        super().__init__(dim, nn.Sequential(nn.Linear(input_dim, hidden), nn.GELU(), nn.Linear(hidden, dim)))
        self.input_dim = input_dim

    def width(self) -> int:
        """Width of the representations of the level below."""
        return self.input_dim


class Level(nn.Module):
    """One level: every `stride`-th state of the level below, and what is done in between as one macro-action.

    It is a JEPA of its own: its observation is the level below, its mask is the future, its condition are macro-actions.

    Args:
        encoder: makes representations of those of the level below.
        predictor: predicts this level's next state; its actions are macro-actions.
        objective: compares predictions and answers.
        stride: states of the level below from one of this level's to the next.
        acting: numbers that act on the level below, W; 0 where nobody acts.
        rollout: steps that are predicted one after another in training.
        windows: rollouts that begin in one sample, at places spread evenly over it; fewer where it is too short for so many.
        macro: numbers of a macro-action.
        hidden: width of the hidden layer that makes macro-actions.
        spread: weight of a term that keeps macro-actions at mean 0 and standard deviation 1, over one forward pass.
        target: answers of the encoder itself, `shared` with a gradient or `detached`, or of an `ema`.
        steps: length of the schedule of an EMA.

    Raises:
        UserError: a number is not positive, or the predictor expects other actions.

    Source: HWM (arXiv 2604.03208) and H-JEPA (arXiv 2610.06805); LeCun, 2022, section 4.6.
    """

    def __init__(
        self,
        encoder: Upward,
        predictor: Dynamics,
        objective: Objective,
        stride: int,
        acting: int,
        rollout: int = 4,
        windows: int = 8,
        macro: int = 4,
        hidden: int = 64,
        spread: float = 0.1,
        target: Answers = "shared",
        steps: int = 1,
    ) -> None:
        super().__init__()
        if stride < 2 or min(rollout, windows, macro, hidden) < 1:
            raise UserError(
                "a level needs stride >= 2 and rollout, windows, macro and hidden >= 1: "
                f"stride={stride}, rollout={rollout}, windows={windows}, macro={macro}, hidden={hidden}"
            )
        expected = 0 if predictor.actions is None else predictor.actions.width
        if expected != (macro if acting else 0):
            raise UserError(
                f"a level's predictor expects {expected} numbers that act, but there are {macro if acting else 0}: "
                "its actions must say macro, or be null where nobody acts"
            )
        self.encoder, self.predictor, self.objective = encoder, predictor, objective
        self.target = answers_of(encoder, target, steps)
        self.stride, self.rollout, self.windows, self.spread = stride, rollout, windows, spread
        self.macro = macro if acting else 0
        self.macro_encoder = (
            nn.Sequential(nn.Linear(stride * acting, hidden), nn.GELU(), nn.Linear(hidden, macro)) if acting else None
        )
        self.masks = Future(predictor.history, rollouts=1)

    def forward(self, below: Timeline) -> tuple[dict[str, Tensor], Timeline]:
        """This level's terms, and what it represents.

        Raises:
            UserError: the data hold no actions.
        """
        above = self.lifted(below)
        if self.macro and above.acting is None:
            raise UserError("the levels expect actions, but these data hold none: choose levels without actions")
        places = self._places(below.x.shape[1], above.step).to(below.x.device)  # [P, F]
        obs = below.x[:, places].flatten(0, 1)  # [B*P, F, h, w, D]
        grid = Grid(*obs.shape[1:4])
        cond = None
        if above.acting is not None:
            acts = above.acting[:, places[:, :-1]].flatten(0, 1)  # [B*P, F-1, A]
            cond = Tokens(acts, Grid(acts.shape[1]).pos(acts.device).expand(len(acts), -1, -1))
        masks = [Masks(*(part.to(obs.device) for part in mask)) for mask in self._masks(grid, len(obs))]
        terms = compare(self.encoder, self.predictor, self.target, self.objective, Batch(obs, masks, cond))
        if cond is not None and self.spread:
            each = cond.x.flatten(0, 1).float()
            apart = each.mean(0).square() + (each.std(0, correction=0) - 1).square()
            terms["macro"] = self.spread * apart.mean()
        return terms, above

    def lifted(self, below: Timeline) -> Timeline:
        """What this level represents at every time, and the macro-actions from every time on."""
        step = self.stride * below.step
        return Timeline(self.encoder.net(below.x), self.macro_actions(below.acting, below.step), step)

    def macro_actions(self, acting: Float[Tensor, "B S W"] | None, step: int) -> Float[Tensor, "B M A"] | None:
        """One macro-action for every time from which `stride` actions of the level below are known.

        Args:
            acting: what is done on the level below from every time on.
            step: frames that each of these takes.
        """
        if acting is None or self.macro_encoder is None:
            return None
        starts = acting.shape[1] - (self.stride - 1) * step
        chunks = [acting[:, part * step : part * step + max(0, starts)] for part in range(self.stride)]
        macros: Tensor = self.macro_encoder(torch.cat(chunks, -1))
        return macros

    def reach(self, step: int) -> int:
        """Frames from the first to the last that a rollout of this level needs, where one of its steps takes `step`."""
        return (self.predictor.history - 1 + self.rollout) * step

    def _places(self, frames: int, step: int) -> Int[Tensor, "P F"]:
        left = frames - self.reach(step)
        starts = torch.linspace(0, left - 1, min(self.windows, left)).round().long()
        return starts[:, None] + step * torch.arange(self.predictor.history + self.rollout)

    def _masks(self, grid: Grid, batch: int) -> list[Masks]:
        return self.masks(grid, batch, torch.Generator())

    def released(self) -> Upward:
        """The encoder to use once training is over: its average, where there is one."""
        return cast(Upward, self.target.released(self.encoder))

    def update(self, step: int) -> None:
        """Let an average of the encoder follow it."""
        self.target.update(self.encoder, step)


def answers_of(encoder: Upward, kind: Answers, steps: int) -> TargetEncoder:
    """Where a level's answers come from.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in get_args(Answers):
        raise unknown("target of a level", kind, get_args(Answers))
    return EMA(encoder, steps, normalise=False) if kind == "ema" else Shared(encoder, detach=kind == "detached")


@final
class Hierarchy(Above):
    """Levels, one above the other, the lowest of them above a JEPA.

    Args:
        above: the levels, from the lowest to the highest.
        actions: what acts on the JEPA; None where nobody does.
        detach: no level teaches those below it: what they represent is taken as it is (HWM). Otherwise all are trained
            end to end (H-JEPA).
        alone: nothing but the levels learns.

    Raises:
        UserError: there are no levels, or they should teach what shall not learn.
    """

    def __init__(
        self, above: Sequence[Level], actions: ActionSpec | None = None, detach: bool = True, alone: bool = False
    ) -> None:
        super().__init__()
        if not above:
            raise UserError("a hierarchy needs at least one level")
        if alone and not detach:
            raise UserError("levels.alone=true and levels.detach=false exclude each other: what is below cannot learn")
        self.levels = nn.ModuleList(above)
        self.actions, self.detach, self.alone = actions, detach, alone

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        """The terms of all levels, named `level2_...` and so on."""
        assert isinstance(batch.obs, Tensor)
        with torch.no_grad() if self.detach else nullcontext():
            tokens: Tokens = encoder(batch.obs)
        grid = encoder.grid(batch.obs.shape[1:])
        acting = None if batch.cond is None else self.acting_of(batch.cond.x)
        timeline = Timeline(tokens.x.reshape(len(tokens.x), *grid, -1), acting, 1)
        terms: dict[str, Tensor] = {}
        for number, level in enumerate(self.each, 2):
            found, timeline = level(timeline)
            terms |= {f"level{number}_{name}": value for name, value in found.items()}
            timeline = timeline.detached() if self.detach else timeline
        return terms

    @property
    def each(self) -> list[Level]:
        """The levels, from the lowest to the highest."""
        return [cast(Level, level) for level in self.levels]

    def acting_of(self, actions: Float[Tensor, "B S W"]) -> Float[Tensor, "B S W"] | None:
        """Actions as the lowest of the levels takes them; None if its actions do not matter to it."""
        if self.actions is None:
            return None
        normalised: Tensor = self.actions(actions)
        return normalised

    def check(self, grid: Grid) -> None:
        """Raise `UserError` where observations have too few frames for a level's rollouts."""
        step = 1
        for number, level in enumerate(self.each, 2):
            step *= level.stride
            reach = level.reach(step)
            if reach >= grid.t:
                raise UserError(
                    f"level {number} takes {level.rollout} steps of {step} frames, which needs more than {reach} frames of "
                    f"representations, not {grid.t}: choose longer windows (data.horizon, data.frames) or levels=none"
                )

    def update(self, step: int) -> None:
        """Let the averages of all levels' encoders follow them."""
        for level in self.each:
            level.update(step)
