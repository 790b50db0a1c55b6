"""A page: everything that belongs to it in one file, which loads nothing and runs nothing but its own script.

Names, commands and paths come from files that others wrote. Jinja escapes all of them, `text.clean` takes away what a page
may not hold, and the content-security policy allows the page's style and script by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from worldjepa.report import dots, lines, palette
from worldjepa.report.dots import DotChart
from worldjepa.report.lines import LineChart
from worldjepa.report.picture import Picture
from worldjepa.report.table import Numbered, Table, Verbatim, Words
from worldjepa.report.text import clean, short


@final
@dataclass(frozen=True)
class Fold:
    """Parts that are shown when they are asked for, and in print."""

    title: str
    parts: Sequence[Part]


Part = Words | Table | Numbered | Verbatim | LineChart | DotChart | Picture | Fold


@final
@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


@final
@dataclass(frozen=True)
class Page:
    """All that a page says.

    Args:
        title: what it is about.
        lead: a sentence or two below the title.
        sections: in order.
        foot: where it comes from.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    foot: str = ""

    def html(self) -> str:
        """The page as one file."""
        environment = _environment()
        style = _once(environment, "page.css")
        script = _once(environment, "page.js")
        policy = (
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )
        page = environment.get_template("page.html")
        return page.render(page=self, style=Markup(style), script=Markup(script), policy=policy)


@cache
def _environment() -> Environment:
    shown = lru_cache(4096)(clean)
    environment = Environment(
        loader=PackageLoader("worldjepa.report"),
        autoescape=True,
        # Markup is our own, anything else is text; most of it stands on a page several times.
        finalize=lambda value: value if isinstance(value, Markup) else shown(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(dots=dots, lines=lines, palette=palette)
    environment.filters["short"] = short
    environment.filters["uri"] = lambda picture: Markup(picture.uri)  # of letters and digits only, and long
    environment.filters["kind"] = lambda part: type(part).__name__
    return environment


def _once(environment: Environment, name: str) -> str:
    return environment.get_template(name).render().strip()


def _hash(text: str) -> str:
    """As a content-security policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
