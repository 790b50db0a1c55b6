"""Charts put numbers where they belong, and leave none out that matters."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldjepa.report.dots import Dot, DotChart
from worldjepa.report.lines import HEIGHT, LEFT, MOST, WIDTH, LineChart, Series, thinned
from worldjepa.report.scale import Scale, spanning
from worldjepa.report.text import clean, short

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_a_scale_holds_its_numbers_and_round_ticks(values: list[float]) -> None:
    scale = spanning(values, 10.0, 400.0)
    assert all(10 - 1e-6 <= scale(value) <= 400 + 1e-6 for value in values)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(10 - 1e-6 <= tick.at <= 400 + 1e-6 for tick in ticks)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20))
def test_a_logarithmic_scale_too(values: list[float]) -> None:
    scale = spanning([*values, -1.0, 0.0], 400.0, 10.0, log=True)
    assert all(10 - 1e-6 <= scale(value) <= 400 + 1e-6 for value in values)
    assert len(scale.ticks()) >= 2
    assert not scale.shows(0.0)


def test_ticks_are_where_they_say() -> None:
    assert [tick.label for tick in Scale(0, 1, 0, 100).ticks()] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.at for tick in Scale(0, 1, 0, 100).ticks()] == pytest.approx([0, 20, 40, 60, 80, 100])
    assert [tick.label for tick in Scale(1.0131, 1.0133, 0, 100).ticks()][:2] == ["1.0131", "1.01315"]
    assert [tick.label for tick in Scale(1, 1000, 0, 300, log=True).ticks()] == ["1", "10", "100", "1,000"]
    assert [tick.at for tick in Scale(1, 1000, 0, 300, log=True).ticks()] == pytest.approx([0, 100, 200, 300])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (12345.678, "12,346"),
        (0.12345, "0.1235"),
        (1e-7, "1e-07"),
        (math.nan, "–"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_gap_breaks_line_and_band() -> None:
    y = [1.0, 2.0, math.nan, 3.0, 4.0]
    drawn = LineChart("t", "d", "x", "y", [Series("s", [0, 1, 2, 3, 4], y, y, y)]).drawn()
    assert drawn.series[0].line.count("M") == 2
    assert drawn.series[0].band.count("Z") == 2
    assert [row.reads[0].text for row in drawn.rows] == [
        "1 (1 to 1)",
        "2 (2 to 2)",
        "– (– to –)",
        "3 (3 to 3)",
        "4 (4 to 4)",
    ]
    assert drawn.rows[2].reads[0].at is None


def test_points_stand_at_their_numbers() -> None:
    chart = LineChart("t", "d", "x", "y", [Series("s", [0, 10], [5.0, 7.0]), Series("other", [5], [6.0])])
    drawn = chart.drawn()
    places = [tuple(map(float, one)) for one in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.series[0].line)]
    assert [x for x, _ in places] == [LEFT, WIDTH - 12]
    assert places[0][1] > places[1][1] > 0  # more is higher up
    assert places[0][1] < HEIGHT
    assert [row.x for row in drawn.rows] == ["0", "5", "10"]
    assert [[read.text for read in row.reads] for row in drawn.rows] == [["5", ""], ["", "6"], ["7", ""]]
    middle = drawn.rows[1].reads[1].at
    assert middle == pytest.approx(sum(y for _, y in places) / 2, abs=0.1)


@given(st.lists(st.one_of(NUMBERS, st.just(math.nan)), min_size=1, max_size=2000))
def test_thinning_keeps_ends_and_extremes(y: list[float]) -> None:
    series = Series("s", list(range(len(y))), y, y, y)
    kept = thinned(series)
    assert len(kept.x) <= max(MOST, 3)
    assert kept.x[0] == 0
    assert kept.x[-1] == len(y) - 1
    assert all(kept.y[i] == y[int(x)] or math.isnan(y[int(x)]) for i, x in enumerate(kept.x))
    finite = [value for value in y if math.isfinite(value)]
    if finite:
        shown = [value for value in kept.y if math.isfinite(value)]
        assert (min(shown), max(shown)) == (min(finite), max(finite))
    if len(finite) < len(y):
        assert any(math.isnan(value) for value in kept.y)


def test_references_stand_at_their_numbers_and_within_the_chart() -> None:
    series = Series("s", [0, 10], [5.0, 7.0])
    drawn = LineChart("t", "d", "x", "", [series], references=[(5.0, "low"), (20.0, "above")]).drawn()
    places = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.series[0].line)]
    assert drawn.references[0] == pytest.approx(places[0], abs=0.1)
    assert drawn.references[1] is not None
    assert 0 < drawn.references[1] < places[1]
    logarithmic = LineChart("t", "d", "x", "", [series], True, [(0.0, "nowhere")]).drawn()
    assert logarithmic.references == [None]


def test_nothing_finite_is_still_a_chart() -> None:
    drawn = LineChart("t", "d", "x", "y", [Series("s", [0, 1], [math.nan, math.inf])], log=True).drawn()
    assert drawn.series[0].line == ""
    assert [row.reads[0].text for row in drawn.rows] == ["–", "–"]


def test_dots_and_whiskers_stand_at_their_numbers() -> None:
    dots = [Dot("a", 50.0, 40.0, 60.0), Dot("b", 100.0), Dot("c" * 100, 0.0)]
    lines, _, reference = DotChart("t", "d", "%", dots, (50.0, "chance")).drawn()
    assert lines[0].x == reference
    assert lines[0].x - lines[0].low == pytest.approx(lines[0].high - lines[0].x)
    assert (lines[1].low, lines[1].high) == (lines[1].x, lines[1].x)
    assert (lines[0].text, lines[1].text) == ("50 (40 to 60)", "100")
    assert lines[2].label.endswith("…")
    assert lines[2].dot.label == "c" * 100


def test_a_text_loses_what_a_page_may_not_hold() -> None:
    assert clean("a\x00\ud800\uffffb\u202e\nc") == "a\ufffd\ufffd\ufffdb\\u202e\nc"
    assert clean("größe 模型 🦊") == "größe 模型 🦊"
