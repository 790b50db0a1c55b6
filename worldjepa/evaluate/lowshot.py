"""A part of the labels: the same share of every class, drawn by seed, or an official list of file names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from worldjepa.data.labels import read_lines
from worldjepa.errors import UserError
from worldjepa.evaluate.results import Split, TokenSplit

SHARES = (0.01, 0.1)
"""The published ones."""


def drawn(y: Int[Tensor, " N"], share: float, seed: int) -> Int[Tensor, " K"]:
    """Rows of this share of every class, rounded, at least one; ascending.

    Raises:
        UserError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UserError(f"share must be above 0 and at most 1: {share}")
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    labels = y.cpu()[order]
    kept = []
    for one in torch.unique(labels):
        rows = order[labels == one]
        kept.append(rows[: max(1, round(share * len(rows)))])
    return torch.cat(kept).sort().values


class Listed(NamedTuple):
    """Rows that a list names."""

    rows: Int[Tensor, " K"]
    missing: list[str]
    """Names of the list that are not there."""


def listed(names: Sequence[str], path: str) -> Listed:
    """Rows whose file name, without its folders, is a line of a text file; ascending.

    Args:
        names: what the rows are called, such as `Observations.name` of each.
        path: the list, such as the `1percent.txt` of SimCLR.

    Raises:
        UserError: there is no list, nothing of it is there, or two rows have the same file name.
    """
    place: dict[str, int] = {}
    for row, name in enumerate(map(os.path.basename, names)):
        if name in place:
            raise UserError(
                f"{names[place[name]]} and {names[row]} have the same file name: {path} cannot tell them apart"
            )
        place[name] = row
    asked = list(dict.fromkeys(os.path.basename(line) for line in read_lines(path, "the list of a low-shot draw")))
    missing = [name for name in asked if name not in place]
    if len(missing) == len(asked):
        raise UserError(f"{path}: none of its {len(asked)} files is there, beginning with {asked[0]}")
    rows = sorted(place[name] for name in asked if name in place)
    return Listed(torch.tensor(rows, dtype=torch.int64), missing)


def rows_of(split: Split, rows: Int[Tensor, " K"]) -> Split:
    """Some rows of embeddings, for any probe."""
    return Split(split.x[rows], split.y[rows])


def token_rows_of(split: TokenSplit, rows: Int[Tensor, " K"]) -> TokenSplit:
    """Some rows of tokens, for an attentive probe."""
    return TokenSplit(split.x[rows], split.y[rows])
