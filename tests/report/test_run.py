"""The report of a run says how it went and what it came to, and of a damaged one what is missing."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.report.hostile import HOSTILE, Skeleton
from tests.report.made import CONFIG, event, lines, made, png, row
from worldjepa.cli import main
from worldjepa.cli.report import run as verb
from worldjepa.errors import UserError
from worldjepa.report.course import ADVICE, ENDINGS, course
from worldjepa.report.folder import read_run
from worldjepa.report.lines import LineChart
from worldjepa.report.log import read_log
from worldjepa.report.page import Page
from worldjepa.report.picture import MOST_BYTES, Picture
from worldjepa.report.run import labels, pictures, report
from worldjepa.report.table import Words
from worldjepa.report.text import clean
from worldjepa.train.lock import NAME, held


def text(page: Page) -> str:
    """All that a reader sees, on one line."""
    return " ".join(" ".join(Skeleton(page.html()).texts).split())


def charts(page: Page) -> dict[str, LineChart]:
    return {part.title: part for section in page.sections for part in section.parts if isinstance(part, LineChart)}


def test_a_finished_run_is_told_from_top_to_bottom(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    page = report([run])
    said = text(page)
    assert page.title == "Run run"
    assert (
        "ViT (depth 4, dim 96), predictor MaskTokenViT, masks MultiBlock, target EMA, objective SmoothL1" in page.lead
    )
    assert "Finished after 40 steps in 100 s of training." in said
    assert "Linear probe: 84 %. For comparison: untrained encoder 50; raw input 14; chance 12.5." in said
    found = charts(page)
    assert list(found) == [
        *("Loss", "Prediction ratio", "RankMe", "Linear probe, %", "Learning rate"),
        *("Gradient norm", "Samples a second"),
    ]
    assert found["Linear probe, %"].references == [(12.5, "chance"), (14.0, "raw input"), (50.0, "untrained encoder")]
    assert found["Prediction ratio"].references == [(1.0, "predicting the mean"), (2.0, "untrained encoder")]
    assert found["Linear probe, %"].series[0].y == [50.0, 84.0]
    assert "Constant, or logged once: weight decay 0.04." in said
    assert "worldjepa train data=patterns" in said
    assert "worldjepa.masks.MultiBlock" in said
    assert "c0ffee" in said
    assert "Missing or damaged" not in said


@pytest.mark.parametrize(
    ("events", "state", "said"),
    [
        (
            [event(20, "stopped", "stopped by SIGTERM after step 20")],
            "interrupted",
            "Interrupted at step 20 of 40: stopped by",
        ),
        ([event(20, "not finite", "no numbers")], "failed", "Failed at step 20 of 40: no numbers"),
        (
            [event(20, "collapse", "rank 1"), event(20, "collapsed", "the alarm")],
            "failed",
            "Failed at step 20 of 40: the alarm",
        ),
        ([event(20, "failed", "RuntimeError: x")], "failed", "Failed at step 20 of 40: RuntimeError: x"),
        ([event(10, "stopped", "a"), event(10, "resumed", "b")], "killed", "last heard of at step 20 of 40"),
        ([event(10, "stopped", "a")], "killed", "last heard of at step 20 of 40"),
        ([], "killed", "Ended without a word"),
    ],
)
def test_how_a_run_ended(tmp_path: Path, events: list[dict[str, object]], state: str, said: str) -> None:
    run = made(tmp_path / "run", done=20, finished=False)
    if events:
        lines(run / "events.jsonl", events)
    went = course(read_run(run), running=False)
    assert (went.state, went.step, went.steps, went.seconds) == (state, 20, 40, 10.0)
    assert said in went.said
    shown = text(report([run]))
    assert said in shown
    for one in events:
        assert ADVICE[str(one["event"])] in shown
    assert course(read_run(run), running=True).state == "running"
    assert "Running: step 20 of 40" in text(report([run], [run]))


def test_every_event_of_a_run_has_advice() -> None:
    """Whatever the training writes down."""
    source = "".join(file.read_text() for file in (Path(__file__).parents[2] / "worldjepa" / "train").glob("*.py"))
    kinds = set(re.findall(r'events\.(?:tell|note)\(\s*[\w.]+,\s*"([^"]+)"', source))
    assert {"stopped", "collapse", "failed", "resumed"} <= kinds
    assert kinds == ADVICE.keys()
    assert ENDINGS.keys() <= kinds


def test_a_run_that_was_taken_further_is_not_finished(tmp_path: Path) -> None:
    run = made(tmp_path / "run", steps=80)
    lines(run / "metrics.jsonl", [row(step) for step in (10, 40, 50)])
    assert course(read_run(run), running=False).state == "killed"
    (run / "config.yaml").write_text("run: {epochs: 2}\n")
    lines(run / "metrics.jsonl", [row(50, **{"train/epoch": 0.5})])
    assert course(read_run(run), running=False).steps == 200


def test_bad_samples_and_events_are_counted_and_explained(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    lines(
        run / "quarantine.jsonl",
        [{"sample": n, "name": f"{n}.png", "kind": "unreadable", "reason": "cut"} for n in range(60)],
    )
    lines(
        run / "events.jsonl",
        [event(n, "skipped", f"step {n}") for n in range(70)] + [event(30, "collapse", "the rank fell")],
    )
    said = text(report([run]))
    assert "60 samples were not used" in said
    assert "49.png" in said
    assert "50.png" not in said
    assert "skipped 70 0 to 69 step 69" in said
    assert "The last 50 of 71 events" in said
    assert "The rank fell Linear probe: 84 %" in said  # at the top, too


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(
            '[1]\n{"step": true, "a": 1}\n{"step": 50, "train/loss": NaN, "train/x": Infinity, "y": "z"}\n{"step": 60, "tra'
        )
    log = read_log(run / "metrics.jsonl")
    assert log.damaged == 3
    assert log.curves["train/loss"].steps == [10, 20, 30, 40, 50]
    assert [step for step, _ in log.curves["train/loss"].finite] == [10, 20, 30, 40]
    assert "y" not in log.curves
    (run / "baselines.json").unlink()
    (run / "environment.json").write_text("[" * 100_000)
    (run / "overrides.json").write_text("null")
    (run / "events.jsonl").mkdir()
    (run / "report.json").write_text('{"steps": "many"}')
    (run / "quarantine.jsonl").write_text('{"name": "x.png", "kind": "hang", "reason": "late"}\n{"na')
    said = text(report([run]))
    for part in (
        "metrics.jsonl: 3 lines cut short or damaged, left out",
        "baselines.json is missing",
        "environment.json is damaged",
        "events.jsonl cannot be read",
        "report.json is damaged: it does not say how many steps were taken",
        "quarantine.jsonl: 1 line cut short or damaged, left out",
        "x.png",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("config", "note"),
    [
        ("a: &x [1]\nb: *x\n", "config.yaml holds YAML aliases"),
        ("a: [", "config.yaml is damaged"),
        ("- 1\n", "config.yaml holds no keys"),
        ("[" * 5000, "config.yaml is damaged"),
        ("a: " + "9" * 5000 + "\n", "config.yaml is damaged"),
        ("a: 0x" + "f" * 5000 + "\nb: 2001-99-99\n", "config.yaml is damaged"),
        ("", "metrics.jsonl is missing: there are no curves"),
    ],
)
def test_any_configuration_is_shown(tmp_path: Path, config: str, note: str) -> None:
    (tmp_path / "config.yaml").write_text(config)
    said = text(report([tmp_path]))
    assert note in said
    assert "Ended without a word, last heard of at step 0" in said


NUMBERS = st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.none(), st.booleans(), st.text(max_size=3))
NAMES = st.sampled_from(
    ["train/loss", "train/lr", "eval/linear_top1", "collapse/rankme", "eval/prediction_ratio", "x", ""]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(-1, 2**60), st.dictionaries(NAMES, NUMBERS)), max_size=8))
def test_any_numbers_make_a_page(tmp_path: Path, rows: list[tuple[int, dict[str, object]]]) -> None:
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    lines(run / "metrics.jsonl", [{"step": step, **numbers} for step, numbers in rows])
    page = report([run]).html()
    assert not re.findall(r'(?:d|at|x|y)="[^"]*(?:nan|inf)', page)


@pytest.mark.parametrize(("count", "names"), [(100_000, 1), (3_000, 60)], ids=["many lines", "many curves"])
def test_a_long_log_makes_a_small_page_soon(tmp_path: Path, count: int, names: int) -> None:
    run = made(tmp_path / "run")
    more = ", ".join(f'"train/term{n}": %d' for n in range(names))
    with (run / "metrics.jsonl").open("w") as stream:
        stream.writelines(f'{{"step": {n}, {more % ((7919 * n % 1000,) * names)}}}\n' for n in range(count))
    began = time.process_time()
    page = report([run]).html()
    assert time.process_time() - began < 10
    assert len(page.encode()) < 2_000_000
    (curve, *_) = read_run(run).log.curves.values()
    assert len(curve.finite) == count
    assert "lowest 0 at step 0" in page


def test_pictures_are_shown_with_their_words(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    folder = run / "pictures"
    folder.mkdir()
    (folder / "masks.png").write_bytes(png(5, 7))
    (folder / "masks.json").write_text(
        json.dumps({"title": "Masks", "caption": "What is hidden.", "command": "worldjepa x"})
    )
    (folder / "pca_map.png").write_bytes(png())
    masks, pca = pictures(run)
    assert isinstance(masks, Picture)
    assert (masks.title, masks.alt, masks.width, masks.height) == ("Masks", "Masks. What is hidden.", 5, 7)
    assert isinstance(pca, Picture)
    assert pca.title == "pca map"
    page = report([run]).html()
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == 2
    assert 'alt="Masks. What is hidden."' in page
    assert "worldjepa x" in page

    (folder / "evil.png").write_text("<svg onload=alert(1)>")
    (folder / "cut.png").write_bytes(png()[:-9])
    (folder / "wide.png").write_bytes(png(100_000, 1)[:20] + b"\xff" * 4 + png()[24:])
    (folder / "huge.gif").write_bytes(b"GIF89a" + b"\1" * MOST_BYTES + b";")
    (folder / "masks.json").write_text("[")
    told = [part.text for part in pictures(run) if isinstance(part, Words)]
    assert [word.partition(".png")[0].partition(".gif")[0].rpartition("/")[2] for word in told[:2]] == ["cut", "evil"]
    assert ["no whole PNG or GIF" in word for word in told] == [True, True, False, False, False]
    assert "more than 2,097,152" in told[2]
    assert "the words of a picture" in told[3]
    assert "pixels" in told[4]
    assert "evil.png cannot be shown" in text(report([run]))


def test_many_pictures_are_not_too_many(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run / "pictures").mkdir()
    bulk = png()[:-12] + b"\x00" * (MOST_BYTES - 500) + png()[-12:]
    for n in range(5):
        (run / "pictures" / f"{n}.png").write_bytes(bulk)
    kinds = [type(part) for part in pictures(run)]
    assert kinds == [Picture] * 4 + [Words]


def test_plans_are_shown(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run / "plan").mkdir()
    actors = {"planned (cem)": {"success": 0.9, "interval": [0.8, 0.95], "steps": 12.0, "tasks": 64}, "random": None}
    found = {
        "settings": {"count": 64, "levels": None},
        "actors": actors,
        "probe_r2": 0.99,
        "open_loop_error": {"10": 0.1},
    }
    (run / "plan" / "plan.json").write_text(json.dumps(found))
    (run / "plan" / "episodes.png").write_bytes(png())
    (run / "plan" / "episode.gif").write_bytes(b"no gif")
    said = text(report([run]))
    assert "Planning: plan" in said
    assert "planned (cem) 90.0 (80.0 to 95.0) 12 – – 64" in said
    assert "Linear probe of the state: R² 0.99; error after 10 imagined steps 0.1." in said
    assert "Asked for: count=64." in said
    assert "episode.gif cannot be shown" in said
    for broken in ("{", "[]", '{"actors": 3}'):
        (run / "plan" / "plan.json").write_text(broken)
        assert "plan.json" in text(report([run]))


def test_what_is_imagined_is_shown_with_what_a_judge_read(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run / "imagined.png").write_bytes(png())
    share = {"truth": {"mean": 1, "low": 1, "high": 1}, "samples": {"mean": 0.324, "low": 0.276, "high": 0.374}}
    factors = {
        "pattern": {
            "kind": "classes",
            "chance": 0.125,
            "scenes": 250,
            "share": share,
            "more_than": {"regression": {"mean": 0.216, "p": 0.0002}, "batch mean": {"mean": -0.01, "p": 0.4}},
        },
        "state": {"kind": "numbers", "radius": 0.06, "scenes": 9, "share": share, "median_error": {"samples": 0.041}},
        "nothing": 3,
    }
    variance = {"of_samples": 0.29, "of_true_pictures": 0.34}
    (run / "measure.json").write_text(json.dumps({"factors": factors, "variance": variance, "settings": {"steps": 9}}))
    said = text(report([run]))
    assert (
        "pattern, read by a judge from 250 scenes right, % (95 % interval) what was there 100.0 (100.0 to 100.0)"
        in said
    )
    assert "samples from predictions 32.4 (27.6 to 37.4) chance 12.5" in said
    assert (
        "pattern is read from samples 21.6 points more often than from the control: the mean of what could be (p 0.0002), "
        "1.0 points less often than from samples from the mean prediction (p 0.4)." in said
    )
    assert "within 0.06 of the true one, % (95 % interval) median error what was there 100.0 (100.0 to 100.0) –" in said
    assert "samples from predictions 32.4 (27.6 to 37.4) 0.041" in said
    assert "Variance between samples of one prediction 0.29, between true pictures 0.34" in said
    assert "Asked for: steps=9." in said
    assert report([run]).html().count("<img ") == 1

    (run / "futures").mkdir()
    (run / "futures" / "imagined.png").write_bytes(png())
    (run / "futures" / "imagined.gif").write_bytes(b"no gif")
    for broken in (
        "{",
        "[]",
        '{"factors": 3}',
        '{"factors": {"a": {"share": 3, "kind": 7, "more_than": []}}, "variance": 1}',
    ):
        (run / "futures" / "measure.json").write_text(broken)
        said = text(report([run]))
        assert "Imagined: futures" in said
        assert "imagined.gif cannot be shown" in said
        assert ("measure.json" in said) == (broken in ("{", "[]"))
    assert text(report([run, made(tmp_path / "other")])).count("Imagined: futures") == 1


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    one, two = made(tmp_path / "a" / "run"), made(tmp_path / "b" / "run", done=20, finished=False)
    (two / "config.yaml").write_text(CONFIG.format(steps=40).replace("0.001", "0.5") + "  out: elsewhere\n")
    assert labels([one, two]) == ["a/run", "b/run"]
    page = report([one, two])
    found = charts(page)
    assert [series.name for series in found["Loss"].series] == ["a/run", "b/run"]
    assert [series.name for series in found["Linear probe, %"].series] == ["a/run", "b/run"]
    assert found["Linear probe, %"].references[0] == (12.5, "chance")
    said = text(page)
    assert "a/run finished 40 of 40 100 s b/run killed 20 of 40" in said
    assert "linear probe, % 84 (50) – (50)" in said  # the other was measured before its first step only
    assert "Loss: 0.04762." in text(report([two]))
    assert "optim.lr 0.001 0.5 Is it learning?" in said  # and nothing else, not even run.out
    for folder, value in ((one, 3.0), (two, 4.0)):
        lines(folder / "metrics.jsonl", [row(10, **{"train/wd": 0.04, "x": value}), row(20)])
    assert "Constant, or logged once: x 3 or 4." in text(report([one, two]))
    assert text(report([one, made(tmp_path / "c")])).count("The configurations are the same") == 1


def filled(folder: Path, text: str) -> Path:
    """A run folder that has a text wherever a run can supply one."""
    run = made(folder)
    quoted = json.dumps(text)
    (run / "config.yaml").write_text(
        f"run: {{steps: 40}}\ndata: {{_target_: {quoted}, {quoted}: {quoted}}}\n", "utf-8", "replace"
    )
    (run / "overrides.json").write_text(json.dumps([text, f"{text}={text}"]))
    told = {"command": [text, "train"], "git": text, text: text, "versions": {text: text}}
    (run / "environment.json").write_text(json.dumps(told))
    scores = {f"eval/{text}/linear_top1": 5.0, f"eval/{text}": 5.0}
    lines(run / "metrics.jsonl", [row(10, **{text: 1.0, f"train/{text}": 2.0}, **scores), row(20, **{text: 2.0})])
    (run / "baselines.json").write_text(json.dumps({text: {**scores, "train/loss": 1.0}}))
    (run / "report.json").write_text(json.dumps({"steps": 20, "trained": scores, "trained_seconds": text}))
    lines(
        run / "events.jsonl",
        [event(5, text, text), event(6, "stopped", text), {**event(7, "failed", text), "time": text}],
    )
    lines(run / "quarantine.jsonl", [{"name": text, "kind": text, "reason": text}])
    (run / "pictures").mkdir()
    (run / "pictures" / "a.png").write_bytes(png())
    (run / "pictures" / "a.json").write_text(json.dumps({"title": text, "caption": text, "command": text}))
    (run / "pictures" / "b.png").write_text(text, "utf-8", "replace")
    actors = {text: {"success": text, "interval": [text, text]}}
    found = {"settings": {text: text}, "actors": actors, "open_loop_error": {text: text}, "surprise_auroc": {text: 1.0}}
    (run / "plan.json").write_text(json.dumps(found))
    (run / "imagined.png").write_bytes(png())
    factor = {"kind": text, "share": {text: {"mean": text}}, "more_than": {text: {"mean": 0.1, "p": text}}}
    judged = {"factors": {text: factor, f"{text} ": {**factor, "kind": "numbers"}}, "settings": {text: text}}
    (run / "measure.json").write_text(json.dumps(judged))
    return run


def test_there_are_enough_hostile_texts() -> None:
    assert len(set(HOSTILE)) >= 30


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    return Skeleton(report([filled(tmp_path_factory.mktemp("plain") / "run", "plain word")]).html())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_run_supplies_is_text_and_nothing_else(tmp_path: Path, plain: Skeleton, hostile: str) -> None:
    page = report([filled(tmp_path / "run", hostile)]).html()
    found = Skeleton(page)
    assert {part[1] for part in found.parts if part[0] == "start"} <= plain.attributes.keys()
    assert found.attributes == plain.attributes
    assert [part[0] for part in found.parts if part[0] in ("comment", "instruction")] == []
    assert page.encode().decode() == page
    assert page.count("<script>") == page.count("</script>") == 1
    shown = " ".join("".join(found.texts).split())
    assert " ".join(clean(hostile).split()) in shown


HOSTILE_NAMES = [name for name in HOSTILE if "/" not in name and "\0" not in name and name.isprintable()]


def test_the_name_of_a_folder_is_text_too(tmp_path: Path) -> None:
    folders = [made(tmp_path / name) for name in HOSTILE_NAMES]
    assert len(folders) > 8
    for folder in folders:
        found = Skeleton(report([folder]).html())
        assert clean(folder.name) in "".join(found.texts)
    page = report(folders[:6]).html()
    assert html.escape(clean(folders[0].name), quote=False) in page.replace("&#34;", '"').replace("&#39;", "'")


def test_the_verb_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    assert main(["report", str(one)]) == 0
    assert (one / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "one", "two"]) == 0
    assert "2 runs side by side" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["report", "two", f"out={tmp_path / 'new' / 'a=b.html'}"]) == 0
    assert (tmp_path / "new" / "a=b.html").exists()
    assert capsys.readouterr().out.splitlines()[1] == "wrote report.html"
    assert not (two / "report.html").exists()


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "runs" / "mine")
    step = run / "checkpoints" / "step-00000040"
    step.mkdir(parents=True)
    many = [str(made(tmp_path / f"run{n}")) for n in range(7)]
    for words, error in (
        ([], "report needs a run"),
        ([str(tmp_path / "runs" / "mien")], r"is not there \(did you mean '.*mine'\?\)"),
        ([str(run / "config.yaml")], "is a file: name the folder"),
        (
            [str(tmp_path / "runs")],
            r"is not a run folder: it holds none of config.yaml, .* \(did you mean '.*mine'\?\)",
        ),
        ([str(step)], r"is not a run folder.*did you mean '.*runs/mine'"),
        ([str(run), str(run / ".." / "mine")], "the same run twice"),
        (many, "at most 6 runs side by side, not 7"),
        ([str(run), f"out={tmp_path}"], "is a folder: name a file"),
        ([str(run), "out=page.md"], "written as FILE.html"),
        ([str(run), "oot=page.html"], r"did you mean 'out'"),
        ([str(run), "--open"], "options are written key=value"),
    ):
        with pytest.raises(UserError, match=error):
            verb(words)
    assert main(["report", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: run '")
    (run / "report.html").mkdir()
    assert main(["report", str(run)]) == 2
    assert main(["report", str(tmp_path / "run0"), f"out={run / 'config.yaml' / 'x.html'}"]) == 74


def test_a_run_that_is_being_written_is_running(tmp_path: Path) -> None:
    run = made(tmp_path / "run", done=20, finished=False)
    assert not held(run)
    lock = run / NAME
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": "now"}))
    assert held(run)
    assert verb([str(run)]) == 0
    assert "Running: step 20 of 40" in (run / "report.html").read_text(encoding="utf-8")
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1, "since": "then"}))
    assert not held(run)
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then"}))
    assert not held(run)  # its lock went with it
