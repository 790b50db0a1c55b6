"""Losses of toy runs against those kept in this folder: a change of the numbers must be meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from golden import regenerate
from golden.regenerate import FOLDER, cases, losses

STRICT = 5
"""Steps that are compared more strictly: differences between machines grow from step to step."""


def command(*names: str) -> str:
    return f"python tests/golden/regenerate.py {' '.join(names)}"


def test_every_method_has_its_numbers() -> None:
    kept = {file.stem for file in FOLDER.glob("*.json")}
    missing, left_over = sorted(set(cases()) - kept), sorted(kept - set(cases()))
    assert not missing, f"make them with: {command(*missing)}"
    assert not left_over, f"delete the files of {left_over}, which are no longer there"


def test_nothing_cached_enters_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, homes = os.environ["WORLDJEPA_HOME"], []

    def train(case: str, out: Path) -> list[float]:
        home = Path(os.environ["WORLDJEPA_HOME"])
        assert not home.exists()
        assert home.parent == out.parent
        homes.append(home)
        return [1.5]

    monkeypatch.setattr(regenerate, "losses", train)
    monkeypatch.setattr(regenerate, "FOLDER", tmp_path)
    for case in ("a-image", "a-video"):
        regenerate.write(case)
        assert json.loads((tmp_path / f"{case}.json").read_text()) == {"losses": [1.5]}
    assert len({before, *map(str, homes)}) == 3
    assert os.environ["WORLDJEPA_HOME"] == before


@pytest.mark.parametrize("case", sorted(file.stem for file in FOLDER.glob("*.json")))
def test_losses_are_those_kept(case: str, tmp_path: Path) -> None:
    kept = json.loads((FOLDER / f"{case}.json").read_text())["losses"]
    found = losses(case, tmp_path / "run")
    assert len(kept) == len(found) == 20
    meant = f"the numbers of {case} changed; if that is meant: {command(case)}"
    assert found[:STRICT] == pytest.approx(kept[:STRICT], rel=1e-4), meant
    assert found == pytest.approx(kept, rel=1e-3), meant
