"""Tables and other parts of a page that are text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final


class Column(NamedTuple):
    """The heading of a column, and whether numbers stand below it."""

    name: str
    numeric: bool = True


@final
@dataclass(frozen=True)
class Code:
    """Text that is shown letter for letter, such as a command."""

    text: str


@final
@dataclass(frozen=True)
class Strong:
    """Text that stands out."""

    text: str


Cell = str | Code | Strong


@final
@dataclass(frozen=True)
class Table:
    """Rows below headings. The first cell of a row names it."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), f"{len(row)} cells below {len(self.columns)} headings: {row}"


@final
@dataclass(frozen=True)
class Words:
    """A paragraph; `warning` if a reader must not miss it."""

    text: str
    warning: bool = False


@final
@dataclass(frozen=True)
class Verbatim:
    """Lines that are shown letter for letter, such as a file; `title` says what they are."""

    title: str
    text: str


@final
@dataclass(frozen=True)
class Numbered:
    """A list with numbers, to which tables refer. Each entry is a code and what is said of it."""

    title: str
    entries: Sequence[tuple[Code, str]]
