"""Principal components of the representations of places as colours, by one basis for everything that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.errors import UserError, unknown
from worldjepa.interfaces import Encoder
from worldjepa.visual.colours import GREY, three
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.sheet import Cell, Shown, sheet, side_of, sized, spread, strip

AXES = 3
CUT = 0.01
"""Share of the scores at either end that have the colour of the end."""

Foreground = Literal["none", "auto", "above", "below"]
"""Which sign of the first component is foreground: none at all, `auto` the one that is rarer at the edges of pictures."""
Fit = Literal["last", "own"]
"""Whose basis colours a checkpoint: that of the last one, or its own with axes and signs matched to the last one's."""
Centre = Literal["all", "each"]
"""What representations are compared with: the mean of all, or that of their own observation."""


class Basis(NamedTuple):
    """Three directions of representations, and the range of scores that becomes colours."""

    mean: Float[Tensor, " D"]
    axes: Float[Tensor, "3 D"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]

    def scores(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b 3"]:
        """How far representations lie along each direction."""
        return (x.double() - self.mean) @ self.axes.T

    def colours(self, x: Float[Tensor, "*b D"]) -> UInt8[ndarray, "*b 3"]:
        """Their colours, the first direction as lightness."""
        span = (self.high - self.low).clamp_min(1e-12)
        return three(((self.scores(x) - self.low) / span).numpy())

    def held(self, x: Float[Tensor, "M D"]) -> Float[Tensor, " 3"]:
        """The share of the variance of `x` that lies along each direction."""
        centred = x.double() - x.double().mean(0)
        return (centred @ self.axes.T).square().sum(0) / centred.square().sum().clamp_min(1e-12)


def fit_basis(x: Float[Tensor, "M D"]) -> Basis:
    """The principal components of representations, largest variance first.

    The largest component of each direction is positive, so that the same representations always have the same colours.

    Raises:
        UserError: there are fewer than two of them, or they all are the same.
    """
    values = x.double()
    mean = values.mean(0)
    centred = values - mean
    if len(x) < 2 or not bool(centred.abs().amax() > 1e-9 * (1 + mean.abs().amax())):
        raise UserError(f"{len(x)} places have one representation between them: there are no components to show")
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1).T[:AXES]  # [3, D]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    axes = torch.cat([axes, axes.new_zeros(AXES - len(axes), axes.shape[1])])
    return _ranged(mean, axes, values)


def matched(basis: Basis, x: Float[Tensor, "M D"], reference: Float[Tensor, "M 3"]) -> Basis:
    """A basis of `x` with its axes in the order, and with the signs, in which their scores follow those of a reference best.

    Args:
        basis: whose axes are turned.
        x: representations.
        reference: scores of another model at the same places.
    """
    left = F.normalize(_centred(basis.scores(x)), dim=0)
    right = F.normalize(_centred(reference.double()), dim=0)
    likeness = left.T @ right  # [own, reference]
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    which = orders[likeness.abs()[orders, torch.arange(AXES)].sum(1).argmax()]
    signs = torch.where(likeness[which, torch.arange(AXES)] < 0, -1.0, 1.0)
    return _ranged(basis.mean, basis.axes[which] * signs[:, None], x.double())


def _ranged(mean: Float[Tensor, " D"], axes: Float[Tensor, "3 D"], values: Float[Tensor, "M D"]) -> Basis:
    scores = ((values - mean) @ axes.T).sort(0).values
    last = len(scores) - 1
    return Basis(mean, axes, scores[round(CUT * last)], scores[round((1 - CUT) * last)])


def _centred(x: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    return x - x.mean(0)


@torch.no_grad()
def features(
    encoder: Encoder, obs: Shaped[Tensor, "B ..."], layer: int = -1, batch: int = 16
) -> Float[Tensor, "B N D"]:
    """The representations of all places, in row-major order of the lattice, from one layer.

    Raises:
        UserError: there is no such layer.
    """
    was_training = encoder.training
    encoder.eval()
    try:
        starts = range(0, len(obs), batch)
        parts = [encoder.layers(obs[start : start + batch], [layer])[0].x.float().cpu() for start in starts]
    finally:
        encoder.train(was_training)
    return torch.cat(parts)


def foreground_of(
    first: Float[Tensor, "B N"], side: Foreground, places: Int64[ndarray, "F h w"]
) -> Bool[Tensor, "B N"]:
    """Which places are foreground by the sign of their first component.

    Raises:
        UserError: there is no such side.
    """
    if side not in get_args(Foreground):
        raise unknown("foreground", side, get_args(Foreground))
    above = first > 0
    if side == "none":
        return torch.ones_like(above)
    if side == "auto":
        edge = np.zeros(places.shape, bool)
        edge[:, [0, -1]] = edge[:, :, [0, -1]] = True
        at_edge = above[:, torch.from_numpy(places[edge])].float().mean()
        side = "above" if at_edge <= 0.5 else "below"
    return above if side == "above" else ~above


def pca_picture(
    encoders: Mapping[str, Encoder],
    obs: Shaped[Tensor, "B ..."],
    depiction: Depiction,
    layer: int = -1,
    foreground: Foreground = "none",
    fit: Fit = "last",
    centre: Centre = "all",
    shown: int = 6,
) -> Shown:
    """Colour every place by the first three principal components of its representation.

    One basis serves all observations, all frames and all encoders: that of the last encoder over all that is given.

    Args:
        encoders: by a name for the caption; the last one's basis counts.
        obs: the observations that the basis is taken from.
        depiction: how they become pictures.
        layer: which layer's representations, as for `Encoder.layers`.
        foreground: leave out the places on one side of the first component; the basis is then taken from the others.
        fit: `own` gives each encoder a basis of its own, with axes and signs matched to the last one's: for encoders that do
            not come from one run.
        centre: `each` takes the mean of its observation from every representation: what differs within observations shows.
        shown: how many of the observations are shown.

    Raises:
        UserError: there is no such layer or choice, encoders of different widths or lattices share one basis, or all places
            are represented alike.
    """
    for name, value, allowed in (("fit", fit, get_args(Fit)), ("centre", centre, get_args(Centre))):
        if value not in allowed:
            raise unknown(name, value, allowed)
    *_, (last, final) = encoders.items()
    grid = final.grid(obs.shape[1:])
    places = depiction.places(grid)
    every = {name: features(encoder, obs, layer) for name, encoder in encoders.items()}
    if centre == "each":
        every = {name: x - x.mean(1, keepdim=True) for name, x in every.items()}
    shapes = {x.shape[1] if fit == "own" else x.shape[1:] for x in every.values()}
    if len(shapes) > 1:
        raise UserError(
            f"representations of different sizes share no basis: {sorted(map(str, shapes))}; show them apart"
        )
    main = fit_basis(every[last].flatten(0, 1))
    inside = foreground_of(main.scores(every[last])[..., 0], foreground, places)
    if not bool(inside.all()):
        main = fit_basis(every[last][inside])
    reference = main.scores(every[last])[inside]
    pictures = sized(depiction.pictures(obs[:shown].cpu(), grid), side_of(len(places)))
    columns, films, numbers = [[Cell(strip(frames), "input") for frames in pictures]], [], []
    for name, x in every.items():
        basis = main if fit == "last" or name == last else matched(fit_basis(x[inside]), x[inside], reference)
        coloured = _coloured(basis, x[:shown], inside[:shown], places)
        films.append(spread(coloured, *pictures.shape[-3:-1]))
        columns.append([Cell(strip(one), name) for one in films[-1]])
        numbers.append({"name": name, "held": basis.held(x[inside]).tolist()})
    share = float(inside.float().mean())
    found = {
        "layer": layer,
        "grid": list(grid),
        "foreground": foreground,
        "foreground_share": share,
        "fit": fit,
        "centre": centre,
    }
    title = f"principal components of layer {layer}: lightness, blue to yellow, green to red"
    across = len(pictures[0]) == 1 and len(columns) > len(pictures)
    rows = [list(row) for row in zip(*columns, strict=True)] if across else columns
    if len(pictures[0]) > 1:
        rows = [[cell] for cells in zip(*columns, strict=True) for cell in cells]
    film = [_moment(pictures[:, t], [one[:, t] for one in films], list(every)) for t in range(pictures.shape[1])]
    caption = _words(numbers, found, obs)
    return Shown(sheet(rows, title), caption, {**found, "checkpoints": numbers}, film if len(film) > 1 else ())


def _coloured(
    basis: Basis, x: Float[Tensor, "B N D"], inside: Bool[Tensor, "B N"], places: Int64[ndarray, "F h w"]
) -> UInt8[ndarray, "B F h w 3"]:
    colours = np.where(inside.numpy()[..., None], basis.colours(x), np.array(GREY, np.uint8))
    return colours[:, places]


def _moment(inputs: UInt8[ndarray, "B H W 3"], films: list[UInt8[ndarray, "B H W 3"]], names: list[str]) -> Any:
    return sheet(
        [[Cell(one, name) for one in row] for name, row in zip(["input", *names], [inputs, *films], strict=True)]
    )


def _words(numbers: list[dict[str, Any]], found: dict[str, Any], obs: Tensor) -> str:
    lines = [f"principal components of layer {found['layer']} over {len(obs)} observations, one basis for all"]
    if found["fit"] == "own":
        lines[0] = lines[0].replace("one basis for all", "a basis for each, matched to the last one's")
    if found["centre"] == "each":
        lines.append("each observation's mean is taken from its representations")
    if found["foreground"] != "none":
        lines.append(f"foreground: {100 * found['foreground_share']:.1f} % of the places")
    for one in numbers:
        shares = ", ".join(f"{100 * share:.1f}" for share in one["held"])
        lines.append(
            f"{one['name']}: the three components hold {shares} % of the variance ({100 * sum(one['held']):.1f} %)"
        )
    return "\n".join(lines)
