"""Objects of a video's first frame, found again in all others by the likeness of frozen patch tokens.

Source: DINO (arXiv 2104.14294), section 4.2.2, after Jabri et al. (arXiv 2006.14613), on DAVIS 2017.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.types import Grid

_ROWS = 1024
"""Patches that are compared with the whole context at a time."""


class Propagation(NamedTuple):
    """How labels travel."""

    neighbours: int = 5
    """Patches of the context that a patch listens to."""
    context: int = 7
    """Frames before the one that is asked, besides the first."""
    radius: float = 12.0
    """How far from the place of a patch its neighbours may be, in patches along each axis."""
    temperature: float = 0.1
    """Neighbours are weighted by `exp(cosine similarity / temperature)`."""


@torch.no_grad()
def propagate(
    x: Float[Tensor, "T n D"],
    lattice: tuple[int, int],
    first: Int[Tensor, "H W"],
    objects: int,
    settings: Propagation = Propagation(),  # noqa: B008
) -> Int[Tensor, "T H W"]:
    """The object at every pixel of every frame; that of the first frame is given.

    Args:
        x: tokens of each frame, row by row.
        lattice: rows and columns of the tokens.
        first: 0 for the background, 1 to `objects` for what is followed.
        objects: how many there are.
        settings: how labels travel.

    Raises:
        UserError: the tokens do not fill the lattice, or a setting is not positive.
    """
    if x.shape[1] != lattice[0] * lattice[1]:
        raise UserError(f"{x.shape[1]} tokens do not fill a lattice of {lattice[0]} rows and {lattice[1]} columns")
    if min(settings.neighbours, settings.context) < 1 or settings.radius < 0 or settings.temperature <= 0:
        raise UserError(f"neighbours, context and temperature must be positive, the radius not negative: {settings}")
    size = (first.shape[0], first.shape[1])
    shares = F.one_hot(first.long(), objects + 1).permute(2, 0, 1).float()  # [O, H, W]
    labels = [F.adaptive_avg_pool2d(shares, lattice).flatten(1).T]  # [n, O]
    unit = F.normalize(x.float(), dim=-1)
    near = nearby(lattice, settings.radius).to(x.device)
    found = [first.long()]
    for time in range(1, len(x)):
        frames = sorted({0, *range(max(0, time - settings.context), time)})
        context, known = unit[frames], torch.stack([labels[i] for i in frames])
        parts = zip(unit[time].split(_ROWS), near.split(_ROWS), strict=True)  # type: ignore[no-untyped-call]
        labels.append(torch.cat([_carried(asked, context, known, close, settings) for asked, close in parts]))
        large = F.interpolate(labels[-1].T.unflatten(1, lattice)[None], size=size, mode="bilinear")  # type: ignore[no-untyped-call]
        found.append(large[0].argmax(0))
    return torch.stack(found)


def nearby(lattice: tuple[int, int], radius: float) -> Bool[Tensor, "n n"]:
    """Which patches are within the radius of one another, along each axis."""
    pos = Grid(1, *lattice).pos()[:, 1:]
    return ((pos[:, None] - pos[None]).abs() <= radius).all(-1)


def _carried(
    asked: Float[Tensor, "a D"],
    context: Float[Tensor, "F n D"],
    labels: Float[Tensor, "F n O"],
    near: Bool[Tensor, "a n"],
    settings: Propagation,
) -> Float[Tensor, "a O"]:
    """The labels of some patches of a frame: the weighted mean of those of the most similar near ones of the context."""
    likeness = torch.einsum("ad,fnd->afn", asked, context).masked_fill(~near[:, None], -torch.inf).flatten(1)
    likeness, places = likeness.topk(min(settings.neighbours, likeness.shape[1]), dim=1)  # [a, k]
    weights = (likeness / settings.temperature).softmax(1)
    return (weights[..., None] * labels.flatten(0, 1)[places]).sum(1)


class Followed(NamedTuple):
    """How well each object was followed, averaged over frames."""

    region: Float[Tensor, " objects"]
    """J: intersection over union of its pixels."""
    boundary: Float[Tensor, " objects"]
    """F: the harmonic mean of how much of the found boundary is right and of the right one found."""
    scores: dict[str, float]
    """`j`, `f` and `jf`, their mean; percent."""


TOLERANCE = 0.008
"""How far apart boundaries may be, as a share of the picture's diagonal (DAVIS)."""


def follow(
    predicted: Int[Tensor, "T H W"], actual: Int[Tensor, "T H W"], objects: int, tolerance: float = TOLERANCE
) -> Followed:
    """Compare with the truth; the first frame, which is given, and the last are left out, as on DAVIS.

    Raises:
        UserError: there are fewer than three frames, or no objects.
    """
    if len(predicted) < 3 or objects < 1:
        raise UserError(f"following needs 3 frames and an object: {len(predicted)} frames, {objects} objects")
    region, boundary = torch.zeros(objects), torch.zeros(objects)
    inner = range(1, len(predicted) - 1)
    for one in range(objects):
        pairs = [(predicted[time] == one + 1, actual[time] == one + 1) for time in inner]
        region[one] = sum(region_j(*pair) for pair in pairs) / len(pairs)
        boundary[one] = sum(boundary_f(*pair, tolerance) for pair in pairs) / len(pairs)
    return Followed(region, boundary, averages(region, boundary))


def averages(region: Float[Tensor, " objects"], boundary: Float[Tensor, " objects"]) -> dict[str, float]:
    """J, F and their mean over objects, such as those of many videos; percent."""
    j, f = 100 * float(region.mean()), 100 * float(boundary.mean())
    return {"jf": (j + f) / 2, "j": j, "f": f}


def region_j(predicted: Bool[Tensor, "H W"], actual: Bool[Tensor, "H W"]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((predicted | actual).sum())
    return int((predicted & actual).sum()) / union if union else 1.0


def boundary_f(predicted: Bool[Tensor, "H W"], actual: Bool[Tensor, "H W"], tolerance: float = TOLERANCE) -> float:
    """How well the boundaries match, within the tolerance; 1 where both are empty, 0 where one is."""
    high, wide = actual.shape
    reach = math.ceil(tolerance * math.hypot(high, wide))
    ours, theirs = boundary(predicted), boundary(actual)
    if not bool(ours.any()) or not bool(theirs.any()):
        return float(bool(ours.any()) == bool(theirs.any()))
    precision = float((ours & grown(theirs, reach)).sum()) / int(ours.sum())
    recall = float((theirs & grown(ours, reach)).sum()) / int(theirs.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Pixels that differ from the next to the right, below or diagonally; beyond the picture nothing differs."""
    padded = F.pad(mask[None, None].float(), (0, 1, 0, 1), mode="replicate")[0, 0] > 0
    return (padded[:-1, 1:] != mask) | (padded[1:, :-1] != mask) | (padded[1:, 1:] != mask)


def grown(mask: Bool[Tensor, "H W"], reach: int) -> Bool[Tensor, "H W"]:
    """Pixels within this distance of the mask."""
    axis = torch.arange(-reach, reach + 1, device=mask.device)
    disk = (axis[:, None] ** 2 + axis**2 <= reach**2).float()[None, None]
    return F.conv2d(mask[None, None].float(), disk, padding=reach)[0, 0] > 0.5
