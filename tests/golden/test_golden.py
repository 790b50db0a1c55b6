"""Losses of toy runs against those kept in this folder: a change of the numbers must be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("case", sorted(file.stem for file in FOLDER.glob("*.json")))
def test_losses_are_those_kept(case: str, tmp_path: Path) -> None:
    kept = json.loads((FOLDER / f"{case}.json").read_text())["losses"]
    found = losses(case, tmp_path / "run")
    assert len(kept) == len(found) == 20
    meant = f"the numbers of {case} changed; if that is meant: {command(case)}"
    assert found[:STRICT] == pytest.approx(kept[:STRICT], rel=1e-4), meant
    assert found == pytest.approx(kept, rel=1e-3), meant
