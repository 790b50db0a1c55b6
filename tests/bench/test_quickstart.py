"""A training over seeds as tables: means with intervals, gains over the untrained encoder of the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quickstart
from benchmarks.efficient.frozen import SPENT
from worldjepa.cli.dispatch import guarded
from worldjepa.train.folder import write_json

UNTRAINED = {0: 50.0, 1: 52.0}
TRAINED = {0: 80.0, 1: 86.0}


def ran(folder: Path, seed: int) -> None:
    """What a finished run leaves."""
    folder.mkdir(parents=True)
    told = {"git": "0123456789", "platform": "elsewhere", "processors": 2, "threads": 1, "devices": []}
    write_json(folder / "environment.json", {**told, "versions": {"torch": "2.11.0"}})
    write_json(folder / SPENT, 90.0)
    both = {
        "eval/row/knn_top1": 40.0,
        "collapse/rankme": 9.0,
        "eval/prediction_ratio": 0.5,
        "eval/prediction_loss": 1.0,
    }
    report = {
        "baselines": {
            "chance": {"eval/linear_top1": 12.5, "eval/row/knn_top1": 20.0},
            "untrained encoder": {"eval/linear_top1": UNTRAINED[seed], **both, "eval/row/knn_top1": 30.0},
        },
        "trained": {"eval/linear_top1": TRAINED[seed], **both},
    }
    write_json(folder / "report.json", report)


def test_runs_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        ran(tmp_path / f"out/seed-{seed}", seed)
    file = tmp_path / "results.md"
    file.write_text("<!-- made:audio -->\n<!-- /made:audio -->\n")
    words = ["--seeds", "0", "1", "--out", str(tmp_path / "out"), "--name", "audio", "--into", str(file)]
    monkeypatch.setattr("sys.argv", ["quickstart", *words, "--", "modality=audio"])
    assert guarded(quickstart.main) == 0
    text = file.read_text()
    assert "`python -m benchmarks.quickstart --seeds 0 1 -- modality=audio`, commit 0123456, 2 processors" in text
    assert "3 processor minutes of training" in text
    assert "| representation | linear, % | row: kNN, % | prediction ratio | RankMe |" in text
    assert "| chance | 12.5 | 20.0 |  |  |" in text
    assert "| trained encoder | 83.0 (44.9 to 121.1) | 40.0 | 0.50 | 9.0 |" in text  # 83 +- 12.706 * 3
    assert "| 0 | +30.0 | +10.0 | 1.5 |" in text
    assert "| 1 | +34.0 | +10.0 | 1.5 |" in text


def test_a_damaged_report_and_a_file_without_a_place_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(tmp_path / "out/seed-0", 0)
    (tmp_path / "out/seed-0/report.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["quickstart", "--seeds", "0", "--out", str(tmp_path / "out")])
    assert guarded(quickstart.main) == 2
    assert "report.json" in capsys.readouterr().err
    words = ["--seeds", "0", "--out", str(tmp_path / "new"), "--", "arch=vith41"]
    monkeypatch.setattr("sys.argv", ["quickstart", *words])
    assert guarded(quickstart.main) == 2
    assert "ended with exit code 2; what it said stands above" in capsys.readouterr().err
    (tmp_path / "results.md").write_text("nothing\n")
    monkeypatch.setattr("sys.argv", ["quickstart", "--into", str(tmp_path / "results.md"), "--name", "audio"])
    assert guarded(quickstart.main) == 2
    assert "made:audio" in capsys.readouterr().err
