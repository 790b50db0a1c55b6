"""Nearest neighbours by the representation, and which of them share the class."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.data import Observations
from worldjepa.errors import UserError, unknown
from worldjepa.evaluate.embed import batches, embed, subset
from worldjepa.interfaces import Encoder
from worldjepa.visual.colours import of_set
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.sheet import Cell, Shown, sheet, sized

SAME, OTHER = 0, 1
"""The colours of frames around neighbours of the same class, and of another one."""


class Nearest(NamedTuple):
    """The K nearest of a bank, nearest first, by their rows in it."""

    rows: Int[Tensor, "Q K"]
    cosine: Float[Tensor, "Q K"]


def nearest(
    queries: Float[Tensor, "Q D"], bank: Float[Tensor, "N D"], k: int, own: Int[Tensor, " Q"] | None = None
) -> Nearest:
    """The nearest by cosine.

    Args:
        queries: for what.
        bank: among what.
        k: how many.
        own: the row of each query in the bank, which is none of its neighbours.

    Raises:
        UserError: there are not so many.
    """
    there = len(bank) - (own is not None)
    if not 1 <= k <= there:
        raise UserError(f"k={k} must be at least 1 and at most {there}, the observations to choose from")
    cosine = F.normalize(queries.float(), dim=1) @ F.normalize(bank.float(), dim=1).T
    if own is not None:
        cosine[torch.arange(len(own)), own] = -torch.inf
    found = cosine.topk(k, dim=1)
    return Nearest(found.indices, found.values)


def neighbours_picture(
    encoder: Encoder,
    queries: Observations,
    bank: Observations,
    depiction: Depiction,
    chosen: list[int],
    k: int = 6,
    most: int | None = 2000,
    over: int = 200,
    factor: str | None = None,
    batch: int = 64,
) -> Shown:
    """Some observations, each with its nearest neighbours.

    Args:
        encoder: its mean representations count.
        queries: observations; the same as `bank` where there are no others.
        bank: what neighbours are looked for in.
        depiction: how observations become pictures.
        chosen: which of the queries are shown.
        k: how many neighbours.
        most: how many of the bank are looked at, spread evenly; None means all.
        over: how many queries the numbers are taken from, beside those shown.
        factor: which of the labels says what is alike; by default the first.
        batch: observations that are encoded at once.

    Raises:
        UserError: there is no such factor, too few observations, or none can be read.
    """
    device = next(encoder.parameters()).device
    both = queries is bank  # then what is shown belongs to what is looked at
    there = embed(encoder, bank, sorted({*subset(bank, most), *(chosen if both else ())}), batch, device)
    asked = embed(encoder, queries, sorted({*chosen, *subset(queries, over)}), batch, device)
    own = _own(asked.indices, there.indices) if both else None
    if own is not None:  # only what is in the bank itself can be left out of it
        keep = [row for row, place in enumerate(own) if place >= 0]
        asked = asked._replace(x=asked.x[keep], indices=[asked.indices[row] for row in keep])
        own = own[keep]
    found = nearest(asked.x, there.x, k, own)
    labels = _labels(queries, bank, asked.indices, there.indices, factor)
    shown = [asked.indices.index(index) for index in chosen if index in asked.indices]
    if not shown:
        raise UserError(f"none of the {len(chosen)} observations to show can be read")
    rows = [_row(row, queries, bank, asked.indices, there.indices, found, labels, depiction, encoder) for row in shown]
    numbers: dict[str, Any] = {"queries": len(asked.x), "bank": len(there.x), "k": k, "factor": None}
    if labels is not None:
        same = labels.queries[:, None] == labels.bank[found.rows]
        numbers |= {
            "factor": labels.factor,
            "same_class": float(same.double().mean()),
            "same_class_nearest": float(same[:, 0].double().mean()),
            "chance": float((labels.queries[:, None] == labels.bank[None]).double().mean()),
        }
    title = "nearest neighbours" + ("; frames: blue the same class, orange another" if labels is not None else "")
    return Shown(sheet(rows, title), _words(numbers), numbers)


class _Labels(NamedTuple):
    factor: str
    names: list[str]
    queries: Int[Tensor, " Q"]
    bank: Int[Tensor, " N"]


def _labels(
    queries: Observations, bank: Observations, asked: list[int], there: list[int], factor: str | None
) -> _Labels | None:
    if factor is not None and factor not in queries.factors:
        raise unknown("factor", factor, queries.factors)
    if not queries.factors or not bank.factors:
        return None
    name = factor or next(iter(queries.factors))
    one, other = queries.factors[name], bank.factors[name]
    return _Labels(name, one.names, torch.from_numpy(one.index[asked]), torch.from_numpy(other.index[there]))


def _own(asked: list[int], there: list[int]) -> Int[Tensor, " Q"]:
    """The row of each query in the bank; -1 where it is not there."""
    row = {index: place for place, index in enumerate(there)}
    return torch.tensor([row.get(index, -1) for index in asked])


def _row(
    row: int,
    queries: Observations,
    bank: Observations,
    asked: list[int],
    there: list[int],
    found: Nearest,
    labels: _Labels | None,
    depiction: Depiction,
    encoder: Encoder,
) -> list[Cell]:
    near = found.rows[row].tolist()
    views = torch.cat([_view(queries, asked[row]), *(_view(bank, there[place]) for place in near)])
    every = depiction.pictures(views, encoder.grid(views.shape[1:]))
    pictures = sized(every[:, every.shape[1] // 2], 96)
    cells = [Cell(pictures[0], "query" if labels is None else labels.names[int(labels.queries[row])])]
    for picture, place, cosine in zip(pictures[1:], near, found.cosine[row].tolist(), strict=True):
        if labels is None:
            cells.append(Cell(picture, f"{cosine:.3f}"))
            continue
        same = bool(labels.queries[row] == labels.bank[place])
        name = labels.names[int(labels.bank[place])]
        cells.append(Cell(_edged(picture, SAME if same else OTHER), f"{cosine:.3f} {name}"))
    return cells


def _view(observations: Observations, index: int) -> Tensor:
    return next(batches(observations, [index], 1)).obs


def _edged(picture: UInt8[ndarray, "H W 3"], colour: int, thick: int = 4) -> UInt8[ndarray, "H W 3"]:
    edged = np.array(picture)
    for edge in (edged[:thick], edged[-thick:], edged[:, :thick], edged[:, -thick:]):
        edge[...] = of_set(colour)
    return edged


def _words(numbers: dict[str, Any]) -> str:
    beginning = f"{numbers['k']} nearest of {numbers['bank']} by cosine, for {numbers['queries']} observations"
    if numbers["factor"] is None:
        return beginning
    return (
        f"{beginning}\nof the same {numbers['factor']}: {100 * numbers['same_class']:.1f} % of the neighbours, "
        f"{100 * numbers['same_class_nearest']:.1f} % of the nearest; chance is {100 * numbers['chance']:.1f} %"
    )
