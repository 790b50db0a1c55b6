"""A page in a real browser: it complains of nothing, loads nothing, changes its colours, and is used without a mouse."""

from __future__ import annotations

from pathlib import Path

from tests.report.browser import browser
from tests.report.hostile import HOSTILE
from tests.report.test_page import full
from worldjepa.report.lines import LineChart, Series
from worldjepa.report.page import Page, Section

ACTIVE = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
GROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 22, 26)"


def made() -> Page:
    """A page with a chart whose series have different x, and with names that would do harm if they could."""
    first = Series("first", [0, 10, 20], [1.0, 2.0, 4.0], [0.5, 1.5, 3.5], [1.5, 2.5, 4.5])
    chart = LineChart("Loss", "Two lines.", "step", "loss", [first, Series("second", [5, 15], [3.0, 2.5])])
    hostile = [section for text in HOSTILE for section in full(text).sections[:1]]
    return Page("A page", "Of two lines.", [Section("Lines", [chart]), *hostile], "The end")


def test_a_browser_shows_and_steers_a_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(made().html(), encoding="utf-8")
    with browser(tmp_path / "profile") as tab:
        tab.prefer("light")
        tab.open(file)
        assert tab.value(GROUND) == LIGHT

        # By keyboard alone: to the content, the colours, the sections and the chart.
        reached = []
        for _ in range(60):
            tab.press("Tab", 9)
            reached.append(tab.value(ACTIVE))
            if reached[-1] == "s1p1r":
                break
        assert reached[:2] == ["skip", "theme"]
        assert reached[-1] == "s1p1r"
        read = "document.querySelector('.read output').textContent"
        assert tab.value(read) == "step 20\nfirst: 4 (3.5 to 4.5)\nsecond: 2.5 (at 15)"
        tab.press("ArrowLeft", 37)
        assert tab.value(read) == "step 15\nfirst: 2 (1.5 to 2.5) (at 10)\nsecond: 2.5"
        tab.press("Home", 36)
        assert tab.value(read) == "step 0\nfirst: 1 (0.5 to 1.5)\nsecond: 3 (at 5)"
        tab.press("Tab", 9)
        tab.press("Enter", 13, "\r")
        assert tab.value("document.querySelector('details').open") is True

        # By pointer: the middle of the chart.
        tab.value("document.querySelector('.lines > svg').scrollIntoView()")
        box = tab.value(
            "(r => [r.left, r.top, r.width, r.height])(document.querySelector('.lines > svg').getBoundingClientRect())"
        )
        assert 0 <= box[1] < 600
        tab.point(box[0] + box[2] * (52 + (420 - 52 - 12) / 2) / 420, box[1] + box[3] / 2)
        assert str(tab.value(read)).startswith("step 10\nfirst: 2")

        # The colours follow the system until they are chosen, and a choice lasts.
        tab.prefer("dark")
        assert tab.value(GROUND) == DARK
        tab.value("document.getElementById('theme').focus()")
        tab.press("Enter", 13, "\r")
        assert tab.value(GROUND) == LIGHT
        assert tab.value("document.getElementById('theme').textContent") == "Dark"
        tab.press("Enter", 13, "\r")
        assert tab.value(GROUND) == DARK
        tab.prefer("light")
        assert tab.value(GROUND) == DARK
        tab.prefer("light", "print")
        assert tab.value(GROUND) == LIGHT
        tab.prefer("light")

        # On a phone nothing but tables is wider than the screen, and what is touched is large enough.
        tab.resize(360, 740)
        assert tab.value("document.documentElement.scrollWidth") == 360
        assert tab.value("document.getElementById('theme').getBoundingClientRect().height") >= 44
        assert tab.printed().startswith(b"%PDF")

        assert tab.complaints() == []
        assert tab.requests() == [file.as_uri()]

        # The policy holds: what is not ours does not run, whoever put it there.
        tab.value(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
        )
        tab.value(
            "document.body.append(Object.assign(document.createElement('img'), {src: 'http://localhost:9/x.png'}))"
        )
        assert tab.value("window.ran === undefined") is True
        assert any("Content Security Policy" in one for one in tab.complaints())
