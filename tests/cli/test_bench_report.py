"""`worldjepa bench report` and `compare` on files, and what they say of mistakes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.made import suite
from worldjepa.cli import main
from worldjepa.cli.bench_report import run
from worldjepa.errors import UserError


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for record in suite(seeds=1):
        record.write(folder)
    return folder


def test_the_report_is_printed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(results)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# Benchmark embedded\n\n48 results of 2 models on 3 tasks.")
    assert "**direction: linear probe**" in said
    assert run(["report", str(results / "vjepa" / "word__knn__seed0.json"), "format=csv"]) == 0
    assert capsys.readouterr().out.count("\n") == 2


def test_all_forms_are_written(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(results), str(results / "vjepa"), "format=all", f"out={tmp_path / 'new'}"]) == 0
    files = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "new").iterdir()}
    assert sorted(files) == ["bench.csv", "bench.html", "bench.md"]
    assert len([*csv.reader(files["bench.csv"].splitlines())]) == 49  # what is found twice counts once
    assert files["bench.html"].startswith("<!DOCTYPE html>")
    assert run(["report", str(results), f"out={tmp_path / 'one.html'}"]) == 0
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == files["bench.html"]
    assert "wrote" in capsys.readouterr().out


def test_a_section_of_a_file_is_replaced(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n\n<!-- bench:embedded -->\nold\n<!-- /bench:embedded -->\n\nafter\n")
    for _ in range(2):
        assert run(["report", str(results), f"into={file}"]) == 0
        text = file.read_text(encoding="utf-8")
    before, section, after = text.split("bench:embedded -->")
    assert before == "# Results\n\n<!-- "
    assert section.startswith("\n\n48 results")
    assert "### Over tasks" in section
    assert "old" not in section
    assert after == "\n\nafter\n"
    with pytest.raises(
        UserError, match=r"needs the lines <!-- bench:embeded --> .*did you mean 'embedded'.*marks for: embedded"
    ):
        run(["report", str(results), f"into={file}", "name=embeded"])
    file.write_text("<!-- /bench:embedded --><!-- bench:embedded -->")
    with pytest.raises(UserError, match="once and in this order"):
        run(["report", str(results), f"into={file}"])
    with pytest.raises(UserError, match="cannot be read"):
        run(["report", str(results), f"into={tmp_path / 'none.md'}"])


def test_two_models_are_compared(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = []
    for words in (
        [str(results / "vjepa"), str(results / "ijepa")],
        ["vjepa", "ijepa", f"within={results}"],
        [f"{results}/vjepa", f"{results}/ijepa", f"out={tmp_path / 'c.md'}"],
    ):
        assert run(["compare", *words]) == 0
        out.append(capsys.readouterr().out)
    assert out[0].startswith("# vjepa against ijepa")
    assert "McNemar's p" in out[0]
    assert out[0] == out[1] == (tmp_path / "c.md").read_text(encoding="utf-8")
    assert run(["compare", "vjepa", "untrained (vjepa)", f"within={results}"]) == 0
    assert "vjepa against untrained (vjepa)" in capsys.readouterr().out


def test_a_name_that_is_no_folder_is_looked_for_in_the_folder(results: Path, tmp_path: Path) -> None:
    for record in suite(seeds=1):
        renamed = replace(record, model=f"my-{record.model}")
        (tmp_path / renamed.place.name).with_suffix(f".{record.model}.{record.row}.json").write_text(
            json.dumps(vars(renamed)), encoding="utf-8"
        )
    assert run(["compare", f"{tmp_path}/my-vjepa", f"{tmp_path}/my-ijepa"]) == 0
    with pytest.raises(UserError, match=r"the model 'my-vjep' is not known \(did you mean 'my-vjepa'"):
        run(["compare", f"{tmp_path}/my-vjep", f"{tmp_path}/my-ijepa"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprot", "R"], r"verb of bench 'reprot' is not known \(did you mean 'report'"),
        (["report"], "needs results"),
        (["report", "R/vjeap"], r"the results 'R/vjeap' is not there \(did you mean 'R/vjepa'"),
        (["report", "R", "format=htlm"], r"format 'htlm' is not known \(did you mean 'html'"),
        (["report", "R", "format=html"], "needs a place: out=report.html"),
        (["report", "R", "format=all"], "needs a place: out=FOLDER"),
        (["report", "R", "out=R"], "out=R must be a file for format=md"),
        (["report", "R", "name=x"], "into=FILE"),
        (["report", "R", "ot=x"], r"key 'ot' is not one of bench report's \(did you mean 'out'"),
        (["report", "empty"], "there are no results in empty"),
        (["report", "R", "foreign"], r"foreign/x\.json is no result of a benchmark"),
        (["compare", "R/vjepa"], "takes two models, not 1"),
        (["compare", "R/vjepa", "R/vjepa"], "not 'R/vjepa' twice"),
        (["compare", "R", "R/vjepa"], "R holds results of 2 models: name one, as R/ijepa"),
        (["compare", "R/vjepa/chance", "R/vjepa"], "no result of a trained model"),
        (["compare", "vjepa", "ijepa"], "'vjepa' is no folder and no file; .* within=FOLDER"),
        (["compare", "vjepa", "ijepa", "within=Q"], "the folder within= 'Q' is not there"),
        (["compare", "R/vjepa", "R/ijepa", "out=x.csv"], "FILE.md or FILE.html"),
    ],
)
def test_mistakes_are_named(
    words: list[str], message: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "R").symlink_to(results)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "x.json").write_text("{}")
    with pytest.raises(UserError, match=message) as caught:
        run(words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", verb, "--help"]) == 0
    assert f"usage: worldjepa bench {verb}" in capsys.readouterr().out
