"""A page holds what it was given as text, and nothing else; it is one file; its colours can be told apart."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.report.hostile import HOSTILE, Skeleton
from tests.report.made import png
from worldjepa.report.dots import Dot, DotChart
from worldjepa.report.lines import LineChart, Series
from worldjepa.report.markdown import code, escaped, markdown
from worldjepa.report.page import Fold, Page, Section
from worldjepa.report.palette import DARK, LIGHT, SERIES
from worldjepa.report.picture import Picture
from worldjepa.report.table import Code, Column, Numbered, Strong, Table, Verbatim, Words
from worldjepa.report.text import clean


def full(text: str) -> Page:
    """A page with a text wherever one can be."""
    series = Series(text, [0, 1, 2], [1.0, 2.0, 3.0], [0.5, 1, 2], [1.5, 3, 4])
    chart = LineChart(text, text, text, text, [series], references=[(1.0, text), (2.0, text)])
    dots = DotChart(text, text, text, [Dot(text, 1.0, 0.5, 1.5, text=text), Dot(text, 2.0)], (0.0, text))
    table = Table(text, [Column(text, False), Column(text), Column(text)], [(text, Code(text), Strong(text))])
    words = [Words(text), Words(text, warning=True), Numbered(text, [(Code(text), text)])]
    fold = Fold(text, [Verbatim(text, text), Picture(text, f"{text} shown", png(), text, text)])
    sections = ([*words, table], [chart], [dots], [fold])
    return Page(text, text, [Section(text, parts) for parts in sections], text)


PLAIN = Skeleton(full("plain").html())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_is_text_and_nothing_else(text: str) -> None:
    page = full(text).html()
    found = Skeleton(page)
    assert found.parts == PLAIN.parts
    assert found.attributes == PLAIN.attributes
    page.encode()
    shown = "".join(found.texts)
    assert clean(text).replace("\r", "") in shown.replace("\r", "")


def test_no_element_and_no_attribute_that_runs_or_loads() -> None:
    loads = {"iframe", "object", "embed", "audio", "video", "base", "form", "foreignobject", "use", "image"}
    assert not loads & PLAIN.attributes.keys()
    names = set().union(*PLAIN.attributes.values())
    assert not [name for name in names if name.startswith("on") or name in ("style", "srcset", "action")]
    sources = [value for part in PLAIN.parts for value in part if value.startswith("src=")]
    assert [source[:26] for source in sources] == ["src=data:image/png;base64,"]
    assert [tag for tag, held in PLAIN.attributes.items() if "src" in held] == ["img"]
    followed = [value for part in PLAIN.parts for value in part if value.startswith("href=")]
    assert followed
    assert all(value.startswith("href=#") or value == "href=data:," for value in followed)
    ids = [value for part in PLAIN.parts for value in part if value.startswith("id=")]
    assert len(ids) == len(set(ids))


def test_the_policy_allows_our_style_and_script_alone() -> None:
    page = full("plain").html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (held,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()}'"
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.findall(r"(?:https?:|url\(|@import|fetch\()", page)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_stays_one_line_and_holds_no_html(text: str) -> None:
    plain, found = (unfenced(markdown(full(one))).splitlines() for one in ("plain", text))
    assert len(found) == len(plain)
    assert not re.findall(r"<[a-zA-Z/!?]", re.sub(r"(`+).*?\1|</?code>", "", "\n".join(found)))
    bars = [len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in found if line[:2] == "| "]
    assert bars == [4, 4, 4]


def unfenced(text: str) -> str:
    """Markdown without the one block of lines that are shown as they are, which nothing within ends."""
    before, fence, rest = re.split(r"^(`{3,})$", text, maxsplit=1, flags=re.M)
    held, end, after = rest.partition(f"\n{fence}\n")
    assert end
    assert fence not in held
    return f"{before}\n{after}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b __c__ *d*", r"a_b \_\_c\_\_ \*d\*"),
        ("# no heading", r"\# no heading"),
        ("1. no item", r"1\. no item"),
        ("- no item", r"\- no item"),
        ("+31.3 (+2 to +5)", "+31.3 (+2 to +5)"),
        ("a | b", r"a \| b"),
        ("<b> & c", "&lt;b&gt; &amp; c"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_code_is_between_more_backticks_than_it_has() -> None:
    assert code("a `b` c") == "``a `b` c``"
    assert code("`b`") == "`` `b` ``"


def linear(colour: str) -> NDArray[np.float64]:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    found: NDArray[np.float64] = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return found


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_series_stand_off_their_ground(theme: dict[str, str]) -> None:
    for name in ("text", "quiet", "link"):
        assert min(contrast(theme[name], theme[ground]) for ground in ("ground", "raised")) >= 4.5
    for index in range(SERIES):
        assert contrast(theme[f"series{index}"], theme["ground"]) >= 4.5
    assert LIGHT.keys() == DARK.keys()


# How severe protanopia, deuteranopia and tritanopia see colours: Machado, Oliveira and Fernandes 2009, table 1.
BLINDNESS = {
    "none": np.eye(3),
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("kind", BLINDNESS)
def test_series_are_told_apart_whatever_one_sees(theme: dict[str, str], kind: str) -> None:
    seen = [lab(np.clip(BLINDNESS[kind] @ linear(theme[f"series{i}"]), 0, 1)) for i in range(SERIES)]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 20
