"""What the documentation says is run: the files and commands of docs/extending.md, and every training command anywhere."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from worldjepa.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOY = [
    *("data.count=32", "data.size=32", "arch.patch=4", "arch.dim=24", "arch.encoder.depth=1", "arch.encoder.heads=2"),
    *("arch.predictor.dim=24", "arch.predictor.heads=2", "run.batch_size=4", "probe.enabled=false", "run.threads=1"),
]


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def commands(page: Path) -> list[str]:
    lines = [line.strip() for _, body in blocks(page) for line in body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if "worldjepa train" in line]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_everything_in_extending_runs(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WORLDJEPA_HOME", str(home))
    written, trained, checked = 0, 0, 0
    for language, body in blocks(ROOT / "docs" / "extending.md"):
        header = re.match(r"# file: (\S+)\n", body)
        if header:
            file = tmp_path / header.group(1)
            file.parent.mkdir(parents=True, exist_ok=True)
            # Hydra reads `# @package` from the first line of a file.
            file.write_text(body[header.end() :])
            written += 1
            if file.name.startswith("test_"):
                runpy.run_path(str(file))
                checked += 1
        elif language == "sh":
            for line in body.splitlines():
                words = shlex.split(line.removeprefix("PYTHONPATH=. "))
                assert words[:2] == ["worldjepa", "train"]
                assert main([*words[1:], *TOY, f"run.out=run{trained}"]) == 0, capfd.readouterr().err
                trained += 1
    assert (written, trained, checked) == (6, 3, 1)
    assert "masks.stripes" not in (tmp_path / "run0" / "config.yaml").read_text()
    assert "stripes.Stripes" in (tmp_path / "run0" / "config.yaml").read_text()
    assert '"train/angle"' in (tmp_path / "run2" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_training_command_composes(page: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for line in commands(page):
        words = shlex.split(line.split("#")[0])
        start = words.index("worldjepa") + 1 if "worldjepa" in words else 0
        if "--config-dir" in words or words[start] != "train":
            continue
        assert main([*words[start:], "--cfg", "job"]) == 0, f"{line}\n{capfd.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}"
