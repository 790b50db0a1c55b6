"""Every run leaves a page that says how it went, and the page never changes how it went."""

from __future__ import annotations

import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from train.toy import train
from worldjepa.train import exits
from worldjepa.train.logs import Screen
from worldjepa.train.run import Loop

PAGE = "report.html"


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def page(out: Path) -> str:
    return (out / PAGE).read_text(encoding="utf-8")


def test_a_run_ends_with_its_page(finished: Path) -> None:
    assert "Finished after 6 steps" in page(finished)
    assert "Missing or damaged" not in page(finished)


def test_a_run_can_do_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "run.steps=1", "run.report=false") == 0
    assert not (tmp_path / "run" / PAGE).exists()
    assert "report:" not in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_one_warning(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    (out / PAGE).unlink()
    (out / PAGE).mkdir()
    assert train(out, "run.resume=auto") == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:")]
    assert f"the report could not be written: {out / PAGE} could not be written: " in warning
    assert f"worldjepa report {out}" in warning


def test_what_is_said_is_no_markup() -> None:
    told = io.StringIO()
    Screen(1, 0, Console(file=told, width=80), enabled=True).say("the page of [/run] is [bold]not[/bold] written")
    assert told.getvalue() == "the page of [/run] is [bold]not[/bold] written\n"


@pytest.mark.parametrize("told", [RuntimeError("no [/bold] luck"), KeyError()], ids=["with words", "without"])
def test_a_failure_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Exception) -> None:
    step = Loop._step

    def fails(self: Loop, feed: Any) -> int | None:
        if self.done == 2:
            raise told
        return step(self, feed)

    monkeypatch.setattr(Loop, "_step", fails)
    with pytest.raises(type(told)) as error:
        train(tmp_path / "run")
    assert error.value is told
    (failed,) = events(tmp_path / "run")
    said = f"{type(told).__name__}: {told}".rstrip(": ")
    assert (failed["step"], failed["event"], failed["what"]) == (2, "failed", said)
    assert f"Failed at step 2 of 6: {said}." in page(tmp_path / "run")


def test_what_a_full_disk_takes_no_word_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Loop, feed: Any) -> int | None:
        (self.job.out / "events.jsonl").mkdir()
        raise OSError("no room")

    monkeypatch.setattr(Loop, "_step", fails)
    with pytest.raises(OSError, match="no room"):
        train(tmp_path / "run")
    assert "warning: " in capsys.readouterr().out
    assert "events.jsonl cannot be read" in page(tmp_path / "run")


def test_a_signal_leaves_a_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Loop._take

    def stopped(self: Loop, *words: Any) -> None:
        if self.done == 2:
            signal.raise_signal(signal.SIGTERM)
        take(self, *words)

    monkeypatch.setattr(Loop, "_take", stopped)
    out = tmp_path / "run"
    assert train(out) == exits.REQUEUE
    assert "Interrupted at step 3 of 6" in page(out)
    monkeypatch.undo()
    assert train(out, "run.resume=auto") == 0
    assert [event["event"] for event in events(out)] == ["stopped", "resumed"]
    assert "Finished after 6 steps" in page(out)


def test_the_alarm_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldjepa.train.monitor.alarm", lambda scores, untrained: "collapse alarm: it fell")
    assert train(tmp_path / "run", "run.steps=2", "run.eval_every=1", "probe.on_alarm=stop") == exits.COLLAPSED
    assert [event["event"] for event in events(tmp_path / "run")][-2:] == ["collapse", "collapsed"]
    assert "Failed at step 1 of 2: the collapse alarm sounded" in page(tmp_path / "run")
    assert "collapse alarm: it fell" in page(tmp_path / "run")
