"""Tables in a file: between their marks, with where they come from, and nothing else of the file changed."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks import ablations
from benchmarks.efficient import publish
from benchmarks.efficient.frozen import SPENT
from worldjepa.cli.dispatch import guarded
from worldjepa.errors import UserError
from worldjepa.train.folder import write_json


def ran(folder: Path, commit: str, minutes: float | None, **more: object) -> Path:
    folder.mkdir()
    told = {
        "git": commit,
        "platform": platform.platform(),
        "processors": 2,
        "threads": 1,
        "devices": [],
        "versions": {"torch": "2.11.0"},
        **more,
    }
    write_json(folder / "environment.json", told)
    if minutes is not None:
        (folder / SPENT).write_text(str(60 * minutes))
    return folder


def test_a_table_stands_between_its_marks_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "masks", "--table", "--steps", "9", "--into", "a b.md", "--out=/secret"])
    file = tmp_path / "results.md"
    file.write_text(
        "before\n<!-- made:one -->\nold\n<!-- /made:one -->\nafter\n<!-- made:two -->\n<!-- /made:two -->\n"
    )
    table = Table(title="accuracy, %")
    for heading in ("method", "score"):
        table.add_column(heading)
    table.add_row("I-JEPA", "79.1")
    folders = [ran(tmp_path / "a", "0123456789", 2.0), ran(tmp_path / "b", "abcdef0123", 3.5)]
    publish.publish(file, "one", "benchmarks.ablations", [table], [*folders, folders[0], tmp_path / "nowhere"])
    text = file.read_text()
    assert text.startswith(
        "before\n<!-- made:one -->\n\n`python -m benchmarks.ablations masks --steps 9`, commit 0123456, abcdef0, "
    )
    assert (
        f"2 processors ({publish.processor()}), 1 thread(s) a run, torch 2.11.0; 6 processor minutes of training; "
        in text
    )
    assert (
        "**accuracy, %**\n\n| method | score |\n| --- | ---: |\n| I-JEPA | 79.1 |\n\n<!-- /made:one -->\nafter\n"
        in text
    )
    assert text.endswith("<!-- made:two -->\n<!-- /made:two -->\n")
    assert "secret" not in text
    assert "old" not in text
    with pytest.raises(UserError, match="made:three"):
        publish.publish(file, "three", "benchmarks.ablations", [table], folders)
    assert file.read_text() == text


def test_what_is_not_known_of_the_time_is_said(tmp_path: Path) -> None:
    folders = [ran(tmp_path / "a", "0123456789", 2.0), ran(tmp_path / "b", "0123456789", None, devices=[{"name": "H"}])]
    found = publish.origin(folders)
    assert found.commits == ["0123456"]
    assert sorted(machine.count("GPU H") for machine in found.machines) == [0, 1]
    assert (found.minutes, found.untold) == (2.0, 1)
    assert publish.origin(folders[1:]).minutes is None
    elsewhere = publish.origin([ran(tmp_path / "c", "0123456789", 1.0, platform="another machine")])
    assert elsewhere.machines == ["2 processors (another machine), 1 thread(s) a run, torch 2.11.0"]
    assert publish.minutes_of(folders) == publish.minutes_of([]) == ""
    assert publish.minutes_of(folders[:1]) == "2.0"


def test_the_command_leaves_out_places() -> None:
    words = ["--peers", "/home/me/python", "--ema", ".99", "--table", "--picture", "x.png", "--seeds", "0", "1"]
    assert publish.command("b.e", words) == "python -m b.e --peers peers/bin/python --ema .99 --seeds 0 1"


def test_a_mistake_is_one_line_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.md"
    file.write_text("<!-- made:ablation-mask -->\n<!-- /made:ablation-mask -->\n")
    words = ["masks", "--into", str(file), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["ablations", *words])
    monkeypatch.setattr(ablations, "untrained", lambda *given: pytest.fail("something was done"))
    assert guarded(ablations.main) == 2
    error = capsys.readouterr().err
    assert "made:ablation-masks" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
