"""A page in a real browser: it complains of nothing, loads nothing, changes its colours, and is used without a mouse."""

from __future__ import annotations

from pathlib import Path

from tests.report.browser import Tab, browser
from tests.report.hostile import HOSTILE
from tests.report.made import event, lines, png
from tests.report.made import made as made_run
from tests.report.test_page import full
from tests.report.test_run import filled
from worldjepa.report.lines import LineChart, Series
from worldjepa.report.page import Page, Section
from worldjepa.report.palette import SERIES
from worldjepa.report.run import report

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
        assert asked(tab) == [file.as_uri()]

        # The policy holds: what is not ours does not run, whoever put it there.
        tab.value(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
        )
        tab.value(
            "document.body.append(Object.assign(document.createElement('img'), {src: 'http://localhost:9/x.png'}))"
        )
        assert tab.value("window.ran === undefined") is True
        assert any("Content Security Policy" in one for one in tab.complaints())


def asked(tab: Tab) -> list[str]:
    """What was asked for that the page does not hold itself."""
    return [address for address in tab.requests() if not address.startswith("data:image/png;base64,")]


def test_a_browser_shows_the_report_of_a_run(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    lines(run / "events.jsonl", [event(3, "skipped", "not finite"), event(10, "collapse", "the rank fell")])
    (run / "pictures").mkdir()
    (run / "pictures" / "masks.png").write_bytes(png(900, 30))
    file = tmp_path / "run.html"
    with browser(tmp_path / "profile") as tab:
        for folders in ([run], [run, made_run(tmp_path / "other", done=20, finished=False)]):
            file.write_text(report(folders).html(), encoding="utf-8")
            tab.prefer("light")
            tab.resize(1200, 900)
            tab.open(file)
            # The last numbers stand there before anybody touches a slider, and it moves by keyboard.
            read = "document.querySelector('.read output').textContent"
            assert "step 40" in tab.value(read)
            tab.value("document.querySelector('.read input').focus()")
            tab.press("Home", 36)
            assert "step 10" in tab.value(read)
            # What is folded opens by keyboard, and is there in print without that.
            seen = "document.querySelector('.fold pre').checkVisibility()"
            assert tab.value(seen) is False
            tab.prefer("light", "print")
            assert tab.value(seen) is True
            tab.prefer("light")
            tab.value("document.querySelector('.fold summary').focus()")
            tab.press("Enter", 13, "\r")
            assert tab.value("document.querySelector('.fold').open") is True
            # Pictures are there, and shrink on a phone, where nothing is wider than the screen.
            shown = "(p => [p.naturalWidth, p.getBoundingClientRect().width <= innerWidth])(document.images[0])"
            for width in (1200, 360, 320):
                tab.resize(width, 740)
                assert tab.value("document.documentElement.scrollWidth") == width
                tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
                assert tab.value("document.documentElement.scrollWidth") == width
                assert tab.value(shown) == [900, True]
            assert tab.printed().startswith(b"%PDF")
            assert tab.complaints() == []
            assert asked(tab) == [file.as_uri()]


def test_nothing_that_a_run_supplies_runs_in_a_browser(tmp_path: Path) -> None:
    runs = [filled(tmp_path / str(n), hostile) for n, hostile in enumerate(HOSTILE)]
    # Side by side, so that there are few pages to load; some also alone, since plans are shown there only.
    pages = [*(runs[n : n + SERIES] for n in range(0, len(runs), SERIES)), *([run] for run in runs[:3])]
    file = tmp_path / "page.html"
    with browser(tmp_path / "profile") as tab:
        for folders in pages:
            file.write_text(report(folders).html(), encoding="utf-8")
            tab.open(file)
            tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
            tab.point(200, 200)
            assert tab.complaints() == []
            assert asked(tab) == [file.as_uri()]
            assert tab.value("document.scripts.length") == 1
            assert tab.value("document.querySelectorAll('main > section').length") == (
                11 if len(folders) == 1 else 7 + len(folders)
            )
            assert tab.value("document.querySelectorAll('body > *').length") == 5
            assert not any(event["method"] == "Page.javascriptDialogOpening" for event in tab.events)
