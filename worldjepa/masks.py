"""Mask samplers: what is seen and what is asked. The task is the mask.

All samplers draw for a whole batch at once and take their randomness from the generator that they are given, so that masks
are a function of (seed, step) and nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interfaces import MaskSampler
from worldjepa.types import Grid, Masks, ascending, random_order, random_subset

Range = tuple[float, float]
Bounds = Sequence[float]
"""A `Range` as it is given: a configuration file knows lists only."""

MAX_ROUNDS = 1000
"""Redraws of unlucky samples: at `MIN_ACCEPTANCE`, one sample in 10^22 would need more."""

MIN_ACCEPTANCE = 0.05
"""Settings whose least favourable block sizes give a large enough context less often than this are refused."""


class Plane(NamedTuple):
    """The two axes of a grid that blocks are drawn on; blocks span the third axis, `depth`, from end to end.

    Images and videos: (h, w), with depth t. Sounds, whose grid is (time, frequency, 1): (t, h), with depth 1.
    """

    rows: int
    cols: int
    depth: int

    @classmethod
    def of(cls, grid: Grid) -> Plane:
        """The plane of a grid."""
        return cls(grid.t, grid.h, 1) if grid.w == 1 else cls(grid.h, grid.w, grid.t)

    @property
    def area(self) -> int:
        """Tokens of one slice."""
        return self.rows * self.cols


class Blocks(NamedTuple):
    """Rectangles of one common size on a plane: their top-left corners and their extent. NumPy: the arrays are small."""

    top: Int[np.ndarray, "B M"]
    left: Int[np.ndarray, "B M"]
    h: int
    w: int

    def pick(self, samples: Int[np.ndarray, " S"], first: int | None = None) -> Blocks:
        """The blocks of some samples, all of them or only the first ones."""
        return Blocks(self.top[samples, :first], self.left[samples, :first], self.h, self.w)

    def indices(self, plane: Plane) -> Int[Tensor, "B M Q"]:
        """The tokens inside each block, in ascending order, over all slices of the plane's depth."""
        inside = np.arange(self.h)[:, None] * plane.cols + np.arange(self.w)  # [h, w]
        slices = np.arange(plane.depth)[:, None] * plane.area  # [depth, 1]
        offsets = (slices + inside.reshape(-1)).reshape(-1)  # [Q]
        return torch.from_numpy((self.top * plane.cols + self.left)[..., None] + offsets)


def span(start: Int[np.ndarray, "B M"], length: int, extent: int) -> Float[np.ndarray, "B M {extent}"]:
    """1 where a block of this length, from `start` on, covers an axis, else 0."""
    # In unsigned arithmetic everything before the start wraps around to a large number: one comparison serves both ends.
    after = np.arange(extent, dtype=np.uint32) - start[..., None].astype(np.uint32)
    return (after < length).astype(np.float32)


def remaining(plane: Plane, context: Blocks, taken: Blocks) -> Bool[np.ndarray, "B A"]:
    """True for the tokens of one slice that lie in the context block `[B, 1]` and in none of the taken blocks `[B, M]`.

    Context minus number of taken blocks, summed over blocks as a product of rows and columns, is positive exactly there.
    """
    rows = np.concatenate([span(context.top, context.h, plane.rows), -span(taken.top, taken.h, plane.rows)], axis=1)
    cols = np.concatenate([span(context.left, context.w, plane.cols), span(taken.left, taken.w, plane.cols)], axis=1)
    inside: Bool[np.ndarray, "B rows cols"] = rows.transpose(0, 2, 1) @ cols > 0
    return inside.reshape(-1, plane.area)


def draw_blocks(plane: Plane, h: int, w: int, shape: tuple[int, int], rng: torch.Generator, reach: int = 1) -> Blocks:
    """Place blocks uniformly; `reach=1` lets them touch the far edges, `reach=0` keeps them one short of these."""
    u = torch.rand(2, *shape, generator=rng).numpy()
    top = (u[0] * (plane.rows - h + reach)).astype(np.int64)
    left = (u[1] * (plane.cols - w + reach)).astype(np.int64)
    return Blocks(top, left, h, w)


def uniform(bounds: Range, u: float) -> float:
    """The point at fraction `u` of an interval."""
    low, high = bounds
    return low + u * (high - low)


def check_range(name: str, bounds: Bounds, most: float) -> Range:
    """Return `(low, high)` if 0 < low <= high <= most.

    Raises:
        UserError: otherwise.
    """
    values = tuple(bounds)
    if len(values) != 2 or not 0 < values[0] <= values[1] <= most:
        limit = "" if most == math.inf else f" <= {most:g}"
        raise UserError(f"masks.{name} must be two numbers 0 < low <= high{limit}, not {list(bounds)}")
    return values[0], values[1]


def check_positive(name: str, value: int) -> int:
    """Return `value` if it is at least 1.

    Raises:
        UserError: otherwise.
    """
    if value < 1:
        raise UserError(f"masks.{name} must be at least 1, not {value}")
    return value


@final
class MultiBlock(MaskSampler):
    """Several target blocks and one large context block with the targets cut out; unbiased.

    The sizes of the blocks are drawn once per call, their positions for every sample. Scale and aspect are independent (the
    aspect is log-uniform, so that wide and tall blocks are equally likely), blocks reach every edge, and contexts are cut to
    one length by an unbiased random subset. Samples whose context is too small are drawn again. On videos the blocks span
    all of time.

    Args:
        targets: target blocks per sample, M; they may overlap one another.
        target_scale: share of the plane that a target block covers.
        target_aspect: height over width of a target block.
        context_scale: share of the plane that the context block covers before the targets are cut out.
        context_aspect: height over width of the context block.
        min_context: smallest number of context tokens, per slice of the plane, that a sample may keep.
        contexts: how often all of this is drawn: so many contexts, each with its targets, share one pass of the target
            encoder, which is half of a step's arithmetic.

    Raises:
        UserError: an argument is out of range; on a call, the numbers cannot be met on that grid.
    """

    def __init__(
        self,
        targets: int = 4,
        target_scale: Bounds = (0.15, 0.2),
        target_aspect: Bounds = (0.75, 1.5),
        context_scale: Bounds = (0.85, 1.0),
        context_aspect: Bounds = (1.0, 1.0),
        min_context: int = 16,
        contexts: int = 1,
    ) -> None:
        self.targets = check_positive("targets", targets)
        self.target_scale = check_range("target_scale", target_scale, 1.0)
        self.target_aspect = check_range("target_aspect", target_aspect, math.inf)
        self.context_scale = check_range("context_scale", context_scale, 1.0)
        self.context_aspect = check_range("context_aspect", context_aspect, math.inf)
        self.min_context = check_positive("min_context", min_context)
        self.contexts = check_positive("contexts", contexts)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw `contexts` times a `Masks` with context `[B, 1, K]` and target `[B, M, Q]`."""
        plane = Plane.of(grid)
        self._check(plane)
        return [self._draw(plane, batch, rng) for _ in range(self.contexts)]

    def _draw(self, plane: Plane, batch: int, rng: torch.Generator) -> Masks:
        u = torch.rand(4, generator=rng).tolist()
        size = block_size(plane, uniform(self.target_scale, u[0]), log_uniform(self.target_aspect, u[1]))
        context_size = block_size(plane, uniform(self.context_scale, u[2]), log_uniform(self.context_aspect, u[3]))

        targets = draw_blocks(plane, *size, (batch, self.targets), rng)
        free = remaining(plane, draw_blocks(plane, *context_size, (batch, 1), rng), targets)
        for _ in range(MAX_ROUNDS):
            short = np.flatnonzero(free.sum(-1) < self.min_context)
            if len(short) == 0:
                break
            again = draw_blocks(plane, *size, (len(short), self.targets), rng)
            targets.top[short], targets.left[short] = again.top, again.left
            free[short] = remaining(plane, draw_blocks(plane, *context_size, (len(short), 1), rng), again)
        else:
            raise AssertionError(f"{MAX_ROUNDS} redraws did not help {len(short)} samples of {batch}")
        everywhere = torch.from_numpy(np.tile(free, plane.depth) if plane.depth > 1 else free)
        return Masks(random_subset(everywhere[:, None], rng, "context", multiple=8), targets.indices(plane))

    def _check(self, plane: Plane) -> None:
        # Not what was drawn now but the worst sizes that a draw can give: a run fails at its first step or never.
        largest = extreme_size(plane, self.target_scale, self.target_aspect, max)
        smallest = extreme_size(plane, self.context_scale, self.context_aspect, min)
        rate = acceptance(plane, largest, smallest, self.targets, self.min_context)
        if rate < MIN_ACCEPTANCE:
            raise self._clash(plane, largest, smallest, f"only {rate:.0%} of draws do")

    def _clash(self, plane: Plane, size: tuple[int, int], context_size: tuple[int, int], why: str) -> UserError:
        return UserError(
            f"masks do not fit on a grid of {plane.rows} x {plane.cols} tokens: {self.targets} targets of "
            f"{size[0]} x {size[1]} (masks.target_scale={list(self.target_scale)}) cut out of a context of "
            f"{context_size[0]} x {context_size[1]} (masks.context_scale={list(self.context_scale)}) must leave at least "
            f"masks.min_context={self.min_context} tokens, but {why}; lower min_context, targets or target_scale, or use a "
            "larger image or a smaller patch"
        )


def block_size(plane: Plane, scale: float, aspect: float) -> tuple[int, int]:
    """Height and width in tokens of a block of this share of the plane and this height over width; at least 1, at most all."""
    area = plane.area * scale
    h = min(plane.rows, max(1, round(math.sqrt(area * aspect))))
    w = min(plane.cols, max(1, round(math.sqrt(area / aspect))))
    return h, w


@functools.cache
def extreme_size(plane: Plane, scale: Range, aspect: Range, choose: Callable[..., tuple[int, int]]) -> tuple[int, int]:
    """The block of most (`choose=max`) or fewest (`min`) tokens that any draw gives, over a fine net of draws."""
    net = [step / 64 for step in range(65)]
    sizes = [block_size(plane, uniform(scale, u), log_uniform(aspect, v)) for u in net for v in net]
    return choose(sizes, key=math.prod)


@functools.cache
def acceptance(
    plane: Plane, size: tuple[int, int], context_size: tuple[int, int], targets: int, min_context: int
) -> float:
    """The share of samples whose context is large enough at their first draw, estimated from 1,024 of them."""
    rng = torch.Generator().manual_seed(0)
    taken = draw_blocks(plane, *size, (1024, targets), rng)
    free = remaining(plane, draw_blocks(plane, *context_size, (1024, 1), rng), taken)
    return float((free.sum(-1) >= min_context).mean())


def log_uniform(bounds: Range, u: float) -> float:
    """The point at fraction `u` of an interval on a logarithmic scale."""
    return math.exp(uniform((math.log(bounds[0]), math.log(bounds[1])), u))


@final
class MultiBlockOfficial(MaskSampler):
    """The distribution of I-JEPA's own sampler, for reproduction, with each of its quirks:

    1. One uniform draw sets both scale and aspect of the target block, so that larger blocks are always taller.
    2. Block sides are always shorter than the grid's, and corners never reach the last possible row and column, so that the
       last row and column of patches are in no block at all.
    3. Sizes are drawn once per call; the context block is square.
    4. A context must keep *more* than `min_keep` tokens. After every 20 failed draws the last target still excluded may
       again be part of the context.
    5. All contexts are cut to the shortest of the batch by keeping the *first* tokens, so that the bottom of the image is
       lost more often; how much is lost depends on the batch size.

    Where the original would draw forever (targets of no more than `min_keep` tokens, a grid of one row), this raises.

    Args:
        targets: target blocks per sample, M.
        target_scale: share of the grid that a target block covers.
        target_aspect: height over width of a target block.
        context_scale: share of the grid that the context block covers.
        min_keep: blocks must have more tokens than this.

    Source: I-JEPA, `src/masks/multiblock.py` of its repository.
    """

    TRIES = 20

    def __init__(
        self,
        targets: int = 4,
        target_scale: Bounds = (0.15, 0.2),
        target_aspect: Bounds = (0.75, 1.5),
        context_scale: Bounds = (0.85, 1.0),
        min_keep: int = 10,
    ) -> None:
        self.targets = check_positive("targets", targets)
        self.target_scale = check_range("target_scale", target_scale, 1.0)
        self.target_aspect = check_range("target_aspect", target_aspect, math.inf)
        self.context_scale = check_range("context_scale", context_scale, 1.0)
        if min_keep < 0:
            raise UserError(f"masks.min_keep must not be negative, not {min_keep}")
        self.min_keep = min_keep

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, 1, K]` and target `[B, M, Q]`."""
        plane = Plane.of(grid)
        if plane.depth > 1:
            raise UserError("masks=multiblock_official is for images; use masks=multiblock for videos")
        u, v = torch.rand(2, generator=rng).tolist()
        size = official_size(plane, uniform(self.target_scale, u), uniform(self.target_aspect, u))
        context_size = official_size(plane, uniform(self.context_scale, v), 1.0)
        # Not what was drawn now but the smallest size that a draw can give: a run fails at its first step or never.
        self._check(plane, "target", smallest_official(plane, self.target_scale, self.target_aspect))
        self._check(plane, "context", smallest_official(plane, self.context_scale, (1.0, 1.0)))

        targets = draw_blocks(plane, *size, (batch, self.targets), rng, reach=0)
        free = self._contexts(plane, targets, context_size, rng)
        # The first tokens of every context: a sample's rank order among its own tokens, cut at the shortest length.
        length = int(free.sum(-1).min())
        first = free & (free.cumsum(-1) <= length)
        context = torch.from_numpy(first.nonzero()[1].reshape(batch, 1, length))
        return [Masks(context, targets.indices(plane))]

    def _contexts(
        self, plane: Plane, targets: Blocks, size: tuple[int, int], rng: torch.Generator
    ) -> Bool[np.ndarray, "B A"]:
        batch = len(targets.top)
        free = np.zeros((batch, plane.area), dtype=bool)
        missing = np.arange(batch)
        for excluded in range(self.targets, -1, -1):
            for _ in range(self.TRIES):
                context = draw_blocks(plane, *size, (len(missing), 1), rng, reach=0)
                drawn = remaining(plane, context, targets.pick(missing, excluded))
                good = drawn.sum(-1) > self.min_keep
                free[missing[good]] = drawn[good]
                missing = missing[~good]
                if len(missing) == 0:
                    return free
        raise AssertionError("a context block without exclusions was checked to be large enough")

    def _check(self, plane: Plane, kind: str, size: tuple[int, int]) -> None:
        h, w = size
        if h < 1 or w < 1 or h * w <= self.min_keep:
            raise UserError(
                f"masks=multiblock_official draws forever on a grid of {plane.rows} x {plane.cols} tokens: its {kind} block "
                f"of {max(h, 0)} x {max(w, 0)} tokens (masks.{kind}_scale) must have more than masks.min_keep="
                f"{self.min_keep}; lower min_keep, raise the scale, or use masks=multiblock"
            )


def official_size(plane: Plane, scale: float, aspect: float) -> tuple[int, int]:
    """Block size by I-JEPA's rule: sides rounded half to even and always shorter than the grid's."""
    area = math.floor(plane.area * scale)
    h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(h, plane.rows - 1), min(w, plane.cols - 1)


@functools.cache
def smallest_official(plane: Plane, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
    """The block of fewest tokens that any draw gives, over a fine net of draws."""
    net = (step / 1024 for step in range(1025))
    return min((official_size(plane, uniform(scale, u), uniform(aspect, u)) for u in net), key=math.prod)


@final
class Random(MaskSampler):
    """A random share of the tokens is asked, the rest is seen.

    Args:
        ratio: share of the tokens that is hidden; two numbers let each call draw it between them.

    Source: the random baseline of I-JEPA's table 6 (ratio 0.6); with 0.4 to 0.6 the masks of Audio-JEPA (arXiv 2507.02915).
    """

    def __init__(self, ratio: float | Bounds = 0.6) -> None:
        low, high = (ratio, ratio) if isinstance(ratio, float | int) else check_range("ratio", ratio, 1.0)
        if not 0 < low <= high < 1:
            raise UserError(f"masks.ratio must lie between 0 and 1, not {ratio}")
        self.ratio = (low, high)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, 1, K]` and target `[B, 1, N - K]`."""
        n, (low, high) = grid.size, self.ratio
        for ratio in self.ratio:  # not what is drawn now but the worst that can be
            hidden = round(n * ratio)
            if not 0 < hidden < n:
                raise UserError(
                    f"masks.ratio={ratio} of {n} tokens ({grid.t} x {grid.h} x {grid.w}) hides {hidden}: nothing is left to "
                    f"{'ask' if hidden == 0 else 'see'}"
                )
        hidden = round(n * (low if low == high else uniform(self.ratio, float(torch.rand((), generator=rng)))))
        everything = torch.ones(batch, 1, n, dtype=torch.bool)
        order = random_order(everything, rng)
        return [Masks(ascending(order[..., hidden:]), ascending(order[..., :hidden]))]


@final
class Whole(MaskSampler):
    """Everything is seen, and one question is asked, for the whole: it stands at the first token, and nobody looks where.

    For predictors that give one answer for all that is seen, such as `worldjepa.predictors.Projector`.
    """

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """One `Masks` with context `[B, 1, N]` and target `[B, 1, 1]`."""
        everything = torch.arange(grid.size).expand(batch, 1, -1)
        return [Masks(everything, everything[..., :1])]


@final
class Quadrants(MaskSampler):
    """One quadrant is seen, and each of the other three is asked.

    Which one is seen is drawn for every sample. Where a side is odd the quadrants differ in size by a row or a column, and all
    are cut to that of the smallest by an unbiased random subset. On videos they span all of time.

    Source: the rasterised masks of I-JEPA's table 6.
    """

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, 1, K]` and target `[B, 3, Q]`.

        Raises:
            UserError: a side of the plane has one token.
        """
        plane = Plane.of(grid)
        if min(plane.rows, plane.cols) < 2:
            raise UserError(
                f"masks=rasterised cuts a plane into quadrants, but this grid has {plane.rows} x {plane.cols} tokens"
            )
        lower = np.arange(plane.rows) >= plane.rows // 2
        right = np.arange(plane.cols) >= plane.cols // 2
        which = np.tile(
            (2 * lower[:, None] + right).reshape(-1), plane.depth
        )  # [N], a quadrant from 0 to 3 for each token
        order = torch.rand(batch, 4, generator=rng).argsort(-1).numpy()  # the seen one comes first
        inside = torch.from_numpy(order[..., None] == which)  # [B, 4, N]
        return [Masks.from_bool(inside[:, :1], inside[:, 1:], rng)]


@final
class CrossBlock(MaskSampler):
    """Target blocks that take their rows, their columns or both along out of the context.

    On sounds a row is a moment with all its frequencies and a column a frequency over all time: what sounds at the same moment,
    or at the same pitch before and after, gives a hidden block away, and here it is hidden, too. Each block takes along its
    rows, its columns or both, equally likely. Everything else is as in `MultiBlock`, with the whole plane for context.

    Args:
        targets: target blocks per sample, M; they may overlap one another.
        target_scale: share of the plane that a target block covers.
        target_aspect: height over width of a target block; on sounds, time over frequency.
        min_context: smallest number of context tokens, per slice of the plane, that a sample may keep.

    Raises:
        UserError: an argument is out of range; on a call, the numbers cannot be met on that grid.

    Source: the time-frequency-aware masks of A-JEPA (arXiv 2311.15830), section 3.
    """

    def __init__(
        self,
        targets: int = 3,
        target_scale: Bounds = (0.05, 0.075),
        target_aspect: Bounds = (0.75, 1.5),
        min_context: int = 16,
    ) -> None:
        self.targets = check_positive("targets", targets)
        self.target_scale = check_range("target_scale", target_scale, 1.0)
        self.target_aspect = check_range("target_aspect", target_aspect, math.inf)
        self.min_context = check_positive("min_context", min_context)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw one `Masks` with context `[B, 1, K]` and target `[B, M, Q]`."""
        plane = Plane.of(grid)
        u = torch.rand(2, generator=rng).tolist()
        size = block_size(plane, uniform(self.target_scale, u[0]), log_uniform(self.target_aspect, u[1]))
        largest = extreme_size(plane, self.target_scale, self.target_aspect, max)
        rate = cross_acceptance(plane, largest, self.targets, self.min_context)
        if rate < MIN_ACCEPTANCE:
            raise UserError(
                f"masks do not fit on a grid of {plane.rows} x {plane.cols} tokens: {self.targets} targets of {largest[0]} x "
                f"{largest[1]} (masks.target_scale={list(self.target_scale)}) with their rows and columns must leave at least "
                f"masks.min_context={self.min_context} tokens, but only {rate:.0%} of draws do; lower min_context, targets or "
                "target_scale, or use a larger input or a smaller patch"
            )
        targets = draw_blocks(plane, *size, (batch, self.targets), rng)
        free = outside_crosses(plane, targets, rng)
        for _ in range(MAX_ROUNDS):
            short = np.flatnonzero(free.sum(-1) < self.min_context)
            if len(short) == 0:
                break
            again = draw_blocks(plane, *size, (len(short), self.targets), rng)
            targets.top[short], targets.left[short] = again.top, again.left
            free[short] = outside_crosses(plane, again, rng)
        else:
            raise AssertionError(f"{MAX_ROUNDS} redraws did not help {len(short)} samples of {batch}")
        everywhere = torch.from_numpy(np.tile(free, plane.depth) if plane.depth > 1 else free)
        return [Masks(random_subset(everywhere[:, None], rng, "context", multiple=8), targets.indices(plane))]


def outside_crosses(plane: Plane, blocks: Blocks, rng: torch.Generator) -> Bool[np.ndarray, "B A"]:
    """True for the tokens of one slice outside every block `[B, M]` and outside the rows, columns or both of each block."""
    kind = torch.randint(3, blocks.top.shape, generator=rng).numpy()[..., None]  # 0 rows, 1 columns, 2 both
    rows, cols = (
        span(blocks.top, blocks.h, plane.rows),
        span(blocks.left, blocks.w, plane.cols),
    )  # [B, M, rows], [B, M, cols]
    blocked_rows = (rows * (kind != 1)).any(1)  # [B, rows]
    blocked_cols = (cols * (kind != 0)).any(1)
    # A block lies in its rows and in its columns, one of which is blocked: it needs no term of its own.
    free: Bool[np.ndarray, "B rows cols"] = ~(blocked_rows[:, :, None] | blocked_cols[:, None, :])
    return free.reshape(-1, plane.area)


@functools.cache
def cross_acceptance(plane: Plane, size: tuple[int, int], targets: int, min_context: int) -> float:
    """The share of samples whose context is large enough at their first draw, estimated from 1,024 of them."""
    rng = torch.Generator().manual_seed(0)
    free = outside_crosses(plane, draw_blocks(plane, *size, (1024, targets), rng), rng)
    return float((free.sum(-1) >= min_context).mean())


@final
class Curriculum(MaskSampler):
    """Draws from one sampler early in the run and more and more often from another.

    At a share `p` of the run the second one is drawn from with the probability `min(1, sqrt(p (1 - c^2) + c^2))`, where c is
    `start`. Called without `at`, it draws as at the beginning.

    Args:
        first: the sampler to begin with.
        second: the sampler to end with.
        start: c, the probability at the beginning.

    Raises:
        UserError: `start` is no probability.

    Source: A-JEPA (arXiv 2311.15830), section 3, with c = 0.01; the square-root schedule of competence-based curricula (arXiv
    1903.09848), by which the place of c^2 under the root is read.
    """

    def __init__(self, first: MaskSampler, second: MaskSampler, start: float = 0.01) -> None:
        if not 0 <= start <= 1:
            raise UserError(f"masks.start must lie between 0 and 1, not {start}")
        self.first = first
        self.second = second
        self.start = start
        self.progress = 0.0

    def at(self, progress: float) -> Curriculum:
        """The curriculum at this share of the run."""
        later = Curriculum(self.first.at(progress), self.second.at(progress), self.start)
        later.progress = progress
        return later

    @property
    def probability(self) -> float:
        """How often the second sampler is drawn from."""
        floor = self.start**2
        return min(1.0, math.sqrt(self.progress * (1 - floor) + floor))

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        """Draw from one of the two, for the whole batch."""
        u = float(torch.rand((), generator=rng))
        # Both draw, so that settings which do not fit the grid stop a run at its first step, whichever they belong to.
        drawn = [sampler(grid, batch, rng) for sampler in (self.first, self.second)]
        return drawn[u < self.probability]
