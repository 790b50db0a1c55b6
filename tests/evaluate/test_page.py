"""The example of docs/evaluation.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for kind, bright in (("night", 0), ("noon", 60)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(bright, 180 + bright, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    told = capsys.readouterr().out
    assert "'features': 'last" in told
    assert "'penalty'" in told
    assert "Interval(mean=" in told
    assert len(list((tmp_path / "home" / "embeddings").iterdir())) == 3
