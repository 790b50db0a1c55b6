"""How far away a state is along ways that were really gone: landmarks of episodes, and the shortest ways between them."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.world.costs import Cost, Reduce, check_reduce, reduced
from worldjepa.world.model import Rollout

NEAR = 3
"""From a state, and to a goal, ways lead over this many of the nearest landmarks."""


@final
class Landmarks(Cost):
    """The steps that are left to the goal, by the shortest way over landmarks.

    Landmarks are states of episodes that lie far apart. Between two of them lie as many steps as an episode took at least from
    the one's surroundings to the other's; the way between others leads over landmarks in between. From an imagined state to a
    landmark beside it, distance in representation space is counted in the usual length of a step. So a wall that is thin in
    representation space is as thick as the way round it.

    Args:
        count: how many landmarks at most.
        reduce: see `LatentDistance`.

    Raises:
        UserError: there shall be fewer than two landmarks, or the name is not known.

    Source: the graph of SoRB (arXiv 1906.05253) over the representations of episodes, with the steps of the episodes in place
    of a learned distance.
    """

    between: Float[Tensor, "M M"]
    places: Float[Tensor, "M E"]
    pace: Float[Tensor, ""]

    def __init__(self, count: int = 600, reduce: Reduce = "sum") -> None:
        super().__init__()
        check_reduce(reduce)
        if count < 2:
            raise UserError(f"at least 2 landmarks are needed, not {count}")
        self.count, self.reduce = count, reduce
        self.register_buffer("between", torch.zeros(0, 0))
        self.register_buffer("places", torch.zeros(0, 0))
        self.register_buffer("pace", torch.ones(()))
        self.frame: tuple[int, ...] = (0, 0)
        """The shape of a state, (n, D)."""

    @torch.no_grad()
    def fit(self, states: Float[Tensor, "E T n D"], stride: int = 4) -> None:
        """Choose landmarks among the encoded frames of episodes and find the shortest ways between them.

        Args:
            states: the frames.
            stride: two landmarks are joined by what an episode did in so many steps, and in twice and four times as many.
                Longer is coarser; shorter counts ways too short, because places are only known up to the nearest landmark.

        Raises:
            UserError: there are no episodes of at least `stride` steps.
        """
        e, t = states.shape[:2]
        if not e or not 0 < stride < t:
            raise UserError(f"landmarks need episodes of more than {stride} frames: {e} of {t}")
        self.frame = tuple(states.shape[2:])
        points = states.flatten(2)
        self.pace = (points[:, 1:] - points[:, :-1]).norm(dim=-1).median().clamp_min(torch.finfo(points.dtype).tiny)
        flat = points.flatten(0, 1)
        self.places, own = spread(flat, self.count)
        here = own.view(e, t)
        m = len(self.places)
        between = torch.full((m * m,), torch.inf)
        for gap in (stride, 2 * stride, 4 * stride):
            if gap < t:
                joined = (here[:, :-gap] * m + here[:, gap:]).flatten()
                between.scatter_reduce_(0, joined, torch.full(joined.shape, float(gap)), "amin")
        between = between.view(m, m)
        between.fill_diagonal_(0)
        self.between = shortest(between).to(points)

    @torch.no_grad()
    def lifted(self, lift: nn.Module, reduce: Reduce) -> Landmarks:
        """The same landmarks and ways in other representations, such as those of a level above.

        Args:
            lift: makes them, `[*b, E]` of `[*b, D]`. The length of a step grows as distances of neighbouring landmarks do.
            reduce: see `LatentDistance`.

        Raises:
            UserError: no landmarks were chosen yet.
        """
        self._check_fitted()
        made = Landmarks(self.count, reduce)
        states = lift(self.places.reshape(-1, *self.frame))
        made.frame, made.places, made.between = tuple(states.shape[1:]), states.flatten(1), self.between
        apart = torch.cdist(self.places, self.places).fill_diagonal_(torch.inf)
        beside = apart.argmin(1)
        before, after = ((one - one[beside]).norm(dim=1).median() for one in (self.places, made.places))
        made.pace = (self.pace * after / before).clamp_min(torch.finfo(states.dtype).tiny)
        return made

    def steps(self, here: Float[Tensor, "B K E"], there: Float[Tensor, "B E"]) -> Float[Tensor, "B K"]:
        """Steps from each of K states to one goal, for B tasks.

        Raises:
            UserError: no landmarks were chosen yet.
        """
        self._check_fitted()
        end, last = self._beside(there[:, None])  # [B, 1, N]
        first, start = self._beside(here)  # [B, K, N]
        way = self.between[start[..., None], last[:, :, None]]  # [B, K, N, N]
        over = (first[..., None] + way + end[:, :, None]).flatten(-2).amin(-1)
        straight = (here - there[:, None]).norm(dim=-1) / self.pace
        # Straight on is only known to lead there where the goal is no farther than a landmark beside it.
        return torch.where(straight <= end.amax(-1), straight, over)

    def _check_fitted(self) -> None:
        if not len(self.places):
            raise UserError("landmarks must be fitted to episodes first")

    def _beside(self, points: Float[Tensor, "B K E"]) -> tuple[Float[Tensor, "B K N"], Int[Tensor, "B K N"]]:
        """The nearest landmarks of each point: how many steps to them, and which they are."""
        with torch.no_grad():
            which = torch.cdist(points, self.places).topk(min(NEAR, len(self.places)), -1, largest=False).indices
        apart = (points[..., None, :] - self.places[which]).norm(dim=-1)
        return apart / self.pace, which

    def forward(self, imagined: Rollout, goal: Float[Tensor, "B n D"]) -> Float[Tensor, "B S"]:
        """The steps that are left."""
        b, s, h = imagined.states.shape[:3]
        left = [
            self.steps(states.flatten(0, 1).flatten(1)[None], there.flatten()[None])
            for states, there in zip(imagined.states, goal, strict=True)  # task by task: all at once need gigabytes
        ]
        return reduced(torch.cat(left).view(b, s, h), self.reduce)


def spread(points: Float[Tensor, "N E"], count: int) -> tuple[Float[Tensor, "M E"], Int[Tensor, " N"]]:
    """Points of which each is the farthest from those before it, and the nearest of them for every point."""
    apart = torch.full((len(points),), torch.inf)
    own = torch.zeros(len(points), dtype=torch.long)
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        new = int(apart.argmax()) if chosen else 0
        if chosen and float(apart[new]) == 0:
            break  # all points are landmarks, or coincide with one
        gap = (points - points[new]).square().sum(-1)
        own = torch.where(gap < apart, len(chosen), own)
        apart = torch.minimum(apart, gap)
        chosen.append(new)
    return points[chosen], own


def shortest(between: Float[Tensor, "M M"]) -> Float[Tensor, "M M"]:
    """Lengths of the shortest ways (Floyd and Warshall); where no way leads, one step more than the longest of them."""
    ways = between.clone()
    for over in range(len(ways)):
        ways = torch.minimum(ways, ways[:, over, None] + ways[None, over])
    return torch.where(ways.isfinite(), ways, ways[ways.isfinite()].max() + 1)
