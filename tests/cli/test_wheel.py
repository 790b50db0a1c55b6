"""The wheel: what is in it, and that the installed command works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def uv(*words: str) -> None:
    """Run uv; `uv run` tells its own place in the environment."""
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        pytest.skip("uv is not installed")
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--out-dir", str(folder))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel, and the packages of this environment beside it."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    uv("venv", "--python", sys.executable, str(venv))
    python = venv / "bin" / "python"
    uv("pip", "install", "--no-deps", "--python", str(python), str(wheel))
    (site,) = venv.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but the .pth files at that path are not read: the editable install of the
    # checkout, which is one of them, stays out.
    (site / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return venv / "bin"


def run(cwd: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"worldjepa/_configs/train.yaml", "worldjepa/py.typed", "worldjepa/cli/dispatch.py"} <= names
    assert {
        f"worldjepa/report/templates/{name}" for name in ("page.html", "parts.html", "page.css", "page.js")
    } <= names
    assert any(name.startswith("modalities/image/") and name.endswith(".py") for name in names)
    assert "modalities/__init__.py" not in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"worldjepa", "modalities"}
    shipped = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"worldjepa/_configs/{name}" for name in shipped} <= names


def test_the_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    program = "import modalities.image, worldjepa; print(worldjepa.__file__); print(*modalities.__path__)"
    done = run(tmp_path, installed / "python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert str(ROOT) + os.sep + "worldjepa" not in done.stdout
    assert done.stdout.count(str(installed.parent)) == 2


def test_the_installed_command_finds_its_option_files(installed: Path, tmp_path: Path) -> None:
    done = run(tmp_path, installed / "worldjepa", "config", "seed=3")
    assert done.returncode == 0, done.stderr
    assert "seed: 3" in done.stdout
    done = run(tmp_path, installed / "worldjepa", "config", "arch=quickstrat")
    assert done.returncode == 2
    assert "did you mean 'quickstart'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_trains(installed: Path, tmp_path: Path) -> None:
    words = ["run.steps=2", "run.batch_size=4", "run.workers=0", "run.out=out", "run.accelerator=cpu", "data.count=64"]
    words += ["optim.warmup_steps=1", "probe.enabled=false"]
    done = run(tmp_path, installed / "worldjepa", "train", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "config.yaml").is_file()
