"""A page as Markdown: the same words and tables; charts are left out, since tables have their numbers, and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from worldjepa.report.page import Fold, Page, Part
from worldjepa.report.table import Cell, Code, Numbered, Strong, Table, Verbatim, Words
from worldjepa.report.text import clean


def markdown(page: Page, level: int = 1, titled: bool = True) -> str:
    """The page as GitHub's Markdown.

    Args:
        page: what to write.
        level: of the page's title; sections are one below.
        titled: whether the title is written; a section of another file has its own.
    """
    blocks = [f"{'#' * level} {escaped(page.title)}"] if titled else []
    blocks += [escaped(page.lead)] if page.lead else []
    for section in page.sections:
        blocks.append(f"{'#' * (level + 1)} {escaped(section.title)}")
        blocks += chain.from_iterable(_part(part) for part in section.parts)
    blocks += [escaped(page.foot)] if page.foot else []
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    line = " ".join(clean(text).split())
    line = re.sub(r"[\\`*\[\]|~$]", r"\\\g<0>", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)  # within a word it is no sign of emphasis
    line = re.sub(r"^(#+|[+=-])(?=\s|$|[=-]{2})", r"\\\1", line)  # headings, items and rules begin a line
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """A text letter for letter, between more backticks than it has in a row."""
    line = " ".join(clean(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{room}{line}{room}{fence}"


def _part(part: Part) -> list[str]:
    match part:
        case Words():
            return [escaped(part.text)]
        case Table():
            return [f"**{escaped(part.title)}**", tabulated(part)]
        case Numbered():
            return [
                "\n".join(f"{n}. {code(one.text)} {escaped(said)}" for n, (one, said) in enumerate(part.entries, 1))
            ]
        case Verbatim():
            return [_fenced(part.text)]
        case Fold():
            return [f"**{escaped(part.title)}**", *chain.from_iterable(_part(one) for one in part.parts)]
        case _:
            return []


def _fenced(text: str) -> str:
    """Lines between more backticks than they have in a row."""
    lines = clean(text).strip("\n")
    fence = "`" * max(3, *(1 + len(row) for row in re.findall("`+", lines)), 0)
    return f"{fence}\n{lines}\n{fence}"


def tabulated(table: Table) -> str:
    """The rows of a table below its headings, without its title."""
    head = _line([escaped(column.name) for column in table.columns])
    rule = _line(["---:" if column.numeric else "---" for column in table.columns])
    return "\n".join([head, rule, *(_line([_cell(cell) for cell in row]) for row in table.rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    match cell:
        case Code():
            # Between backticks, a cell of a table cannot have a backslash before a bar.
            return f"<code>{escaped(cell.text)}</code>"
        case Strong():
            return f"**{escaped(cell.text)}**"
        case _:
            return escaped(cell)
