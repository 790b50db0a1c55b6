"""Tables of results have the right rows in the right order, the right numbers, and say what is missing."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.bench.made import result, suite
from tests.report.hostile import HOSTILE, Skeleton
from worldjepa.bench.aggregate import boards
from worldjepa.bench.page import report
from worldjepa.bench.record import Record
from worldjepa.bench.standings import overall, ranks
from worldjepa.bench.tables import Origins, csv_text
from worldjepa.errors import UserError
from worldjepa.report.markdown import markdown


def rows(records: list[Record], title: str) -> list[list[str]]:
    """The cells of a table of the report."""
    text = markdown(report(records, "Benchmark"))
    table = text.split(f"**{title}**\n\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_rows_stand_in_their_order_with_means_and_intervals() -> None:
    table = rows(suite(), "direction: linear probe")
    names = ["chance", "raw input", "untrained (ijepa)", "untrained (vjepa)", "**ijepa**", "**vjepa**", "supervised"]
    assert [row[0] for row in table] == names
    scores = [75.0, 76.0, 77.0]  # of vjepa, see `suite`
    low, high = stats.t.interval(0.95, 2, np.mean(scores), stats.sem(scores))
    assert table[5][1] == f"76.0 ({low:.1f} to {high:.1f})"
    assert table[5][2] == "+25.0 (+25.0 to +25.0)"
    assert table[5][3] == f"{(76 - 12.5) / 87.5:.3f}"
    assert table[5][4:6] == ["3", "1.8"]
    assert table[0][1] == "12.5"
    assert table[6][1].startswith("96.0")


@pytest.mark.parametrize(("seeds", "said"), [(1, "75.0 (one seed)"), (2, "75.5 (2 seeds)")])
def test_few_seeds_have_no_interval_and_say_so(seeds: int, said: str) -> None:
    assert rows(suite(seeds=seeds), "direction: linear probe")[5][1] == said


def test_a_gain_pairs_seeds_where_both_have_the_same() -> None:
    pairs = [(60.0, 40.0), (70.0, 45.0), (65.0, 50.0)]
    records = [
        result(row=row, seed=seed, score=pair[place])
        for seed, pair in enumerate(pairs)
        for place, row in enumerate(("trained", "untrained"))
    ]
    (board,) = boards(records)
    gain = board.gain(board.of("trained")[0])
    low, high = stats.t.interval(0.95, 2, 20.0, stats.sem([20, 25, 15]))
    assert gain == pytest.approx((20.0, low, high, 3))
    (board,) = boards([one for one in records if one.row == "untrained" or one.seed == 0])
    assert board.gain(board.of("trained")[0]) == (60 - 45, None, None, 1)
    (board,) = boards([replace(one, higher_is_better=False, metric="error") for one in records])
    gain = board.gain(board.of("trained")[0])
    assert gain is not None
    assert gain.mean == -20


def test_what_is_missing_is_named() -> None:
    records = [one for one in suite() if one.row not in ("raw input", "chance")]
    records = [one for one in records if (one.row, one.model, one.task) != ("untrained", "vjepa", "shape")]
    for board in boards(records):
        expected = ["chance", "raw input"] + (["untrained (vjepa)"] if board.variant.task == "shape" else [])
        assert board.missing() == expected
    text = markdown(report(records, "Benchmark"))
    assert "Missing for linear probe: chance, raw input, untrained (vjepa)." in text
    assert "Not counted for linear probe: direction (version 1): no row of chance" in text
    only = [one for one in suite() if one.row == "raw input"]
    assert all(board.missing() == ["chance", "supervised", "a trained model"] for board in boards(only))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"version": 2}, "version 2 of the task"), ({"examples": "f" * 64}, r"other test examples \(ffffffff\)")],
)
def test_what_was_asked_otherwise_is_not_mixed(change: dict[str, object], said: str) -> None:
    other = [replace(one, **change, model="late") for one in suite(("vjepa",)) if one.task == "direction"]  # type: ignore[arg-type]
    records = [*suite(("vjepa",)), *other]
    tables = [board for board in boards(records) if board.variant.task == "direction"]
    assert len(tables) == 4
    assert all({model for line in board.lines for model in line.models} in ({"vjepa"}, {"late"}) for board in tables)
    text = markdown(report(records, "Benchmark"))
    assert re.search(rf"Not to be compared with the other table of this task: {said}", text)
    assert "no result of late" in text


def test_results_that_are_not_the_same_measurement_are_refused() -> None:
    with pytest.raises(UserError, match=r"'vjepa' \(trained\) on direction by linear with seed 0 .* aaaaaaaaaaaa"):
        boards([result(), result(key="a" * 64)])
    (board,) = boards([result(), result()])
    assert len(board.lines[0].records) == 1
    (board,) = boards([result(row="raw input", score=50.0), result(row="raw input", model="mae", score=50.25)])
    assert [(one.record.score, one.other) for one in board.conflicts] in ([(50.0, 50.25)], [(50.25, 50.0)])


def test_ranks_share_places() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.integers(0, 4, size=6).astype(float)
        assert ranks([*values]) == pytest.approx(stats.rankdata(-values))


def test_standings_over_tasks() -> None:
    models = ("ijepa", "mae", "vjepa")
    records = suite(models)
    worst = [
        replace(one, score=1.0) if (one.task, one.model, one.row) == ("word", "vjepa", "trained") else one
        for one in records
    ]
    found = {one.probe: one for one in overall(boards(worst), draws=200)}
    linear = {one.label: one for one in found["linear"].standings}
    assert [*linear] == [
        *("raw input", "untrained (ijepa)", "untrained (mae)", "untrained (vjepa)"),
        *("ijepa", "mae", "vjepa", "supervised"),
    ]
    # vjepa is first on two tasks and last on the third; mae second, second, first.
    assert [linear[name].rank for name in models] == pytest.approx([(3 + 3 + 2) / 3, (2 + 2 + 1) / 3, (1 + 1 + 3) / 3])
    assert [linear[name].borda for name in models] == [0 + 0 + 1, 1 + 1 + 2, 2 + 2 + 0]
    chance = {"direction": 12.5, "shape": 25.0, "word": 5.0}
    for name in models:
        scores = {
            task: [r.score for r in worst if (r.task, r.model, r.row, r.probe) == (task, name, "trained", "linear")]
            for task in chance
        }
        normalised = [(np.mean(scores[task]) - floor) / (100 - floor) for task, floor in chance.items()]
        assert linear[name].mean == pytest.approx(np.mean(normalised))
        assert linear[name].low <= linear[name].mean <= linear[name].high
    assert linear["raw input"].rank is None


def test_standings_count_only_tasks_that_all_models_have() -> None:
    records = [one for one in suite() if (one.task, one.model, one.row) != ("word", "vjepa", "trained")]
    for one in overall(boards(records), draws=50):
        assert [which.task for which in one.tasks] == ["direction", "shape"]
        assert [(which.task, why) for which, why in one.left_out] == [("word", "no result of vjepa")]
    strange = [replace(one, metric="spark") for one in suite()]
    assert "the best possible spark is not known" in markdown(report(strange, "Benchmark"))


def test_r2_and_errors_are_normalised_too() -> None:
    for metric, better, chance, score, expected in (("r2", True, 0.0, 0.75, 0.75), ("error", False, 8.0, 2.0, 0.75)):
        common = {"metric": metric, "higher_is_better": better}
        (board,) = boards([result(**common, row="chance", probe="none", score=chance), result(**common, score=score)])
        values = board.normalised(board.of("trained")[0])
        assert values is not None
        assert values == pytest.approx([expected])


def test_every_row_says_what_made_it() -> None:
    records = [*suite(("vjepa",)), result(task="late", command="other", commit=None, threads=1)]
    origins = Origins(records)
    assert [origins.of(board.lines[-1]) for board in boards(records)] == ["1", "1", "2", "1", "1", "1", "1"]
    assert [code.text for code, _ in origins.listed().entries] == [records[0].command, "other"]
    assert "at commit unknown, worldjepa 0.1, on cpu, 1 thread" in markdown(report(records, "Benchmark"))


def test_csv_has_a_line_a_result() -> None:
    records = [*suite(), result(command='a "b", c\n=d', device="\ud800")]
    read = [*csv.DictReader(io.StringIO(csv_text(records)))]
    assert len(read) == len(records)
    assert [float(one["score"]) for one in read] == [one.score for one in records]
    assert read[-1]["command"] == 'a "b", c\n=d'
    assert json.loads(read[0]["chosen"]) == {"k": 20}
    assert read[0]["minutes"] == "0.6000"
    assert "correct" not in read[0]


@pytest.mark.parametrize("text", HOSTILE[:6] + HOSTILE[-6:])
def test_what_results_say_of_themselves_is_text(text: str) -> None:
    def page(one: str) -> str:
        said = {
            "factor": one,
            "metric": one,
            "device": one,
            "command": one,
            "commit": one,
            "suite": one,
            "modality": one,
        }
        records = [replace(x, **said, versions={"worldjepa": one}) for x in suite(("vjepa",), 1) if x.task == "word"]
        return report(records, f"Benchmark {one}").html()

    plain, found = Skeleton(page("plain")), Skeleton(page(text))
    assert found.parts == plain.parts
    assert found.attributes == plain.attributes


def test_models_share_what_is_the_same_measurement() -> None:
    keys = {"raw input": "1" * 64, "untrained": "2" * 64, "chance": "3" * 64}
    records = [result(row=row, key=key, model=name) for row, key in keys.items() for name in ("ijepa", "mae")]
    records += [result(model=name, score=60.0) for name in ("ijepa", "mae", "alone")]
    records.append(result(row="untrained", model="vjepa", score=10.0))
    (board,) = boards(records)
    labels = ["chance", "raw input", "untrained (ijepa, mae)", "untrained (vjepa)", "alone", "ijepa", "mae"]
    assert [board.label(line) for line in board.lines] == labels
    assert [board.gain(line) for line in board.lines[-2:]] == [(10.0, None, None, 1)] * 2
    assert board.gain(board.lines[-3]) is None
    assert board.missing() == ["supervised", "untrained (alone)"]
