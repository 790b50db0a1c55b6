"""What an import costs and brings along, each in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import worldjepa

HEAVY = {"torch", "numpy", "hydra", "omegaconf", "rich", "timm", "torchvision", "torchaudio", "decord"}


def fresh(program: str, cwd: Path) -> dict[str, object]:
    """Run a program that ends in a value called `seen`, and return it with the time it took and what it loaded."""
    code = (
        "import json, sys, time; start = time.perf_counter(); seen = None\n"
        f"{program}\n"
        "taken = time.perf_counter() - start\n"
        "print('\\n' + json.dumps({'seen': seen, 'taken': taken, 'loaded': sorted(sys.modules)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("program", "limit"),
    [
        ("import worldjepa", 0.2),
        ("import worldjepa; seen = worldjepa.__version__", 0.3),
        ("from worldjepa.cli import main; seen = main(['--help'])", 0.3),
        ("from worldjepa.cli import main; seen = main(['--version'])", 0.3),
        ("from worldjepa.cli import main; seen = main(['train', '--help'])", 0.3),
    ],
)
def test_quick_and_without_heavy_imports(program: str, limit: float, tmp_path: Path) -> None:
    # The best of three: other work on the machine can only make it slower.
    runs = [fresh(program, tmp_path) for _ in range(3)]
    assert not HEAVY & set(runs[0]["loaded"])  # type: ignore[call-overload]
    assert min(float(str(run["taken"])) for run in runs) < limit
    assert list(tmp_path.iterdir()) == []


def test_the_core_loads_no_modality_no_decoder_and_none_of_timms_models(tmp_path: Path) -> None:
    names = ("types", "interfaces", "data", "encoders", "predictors", "train.run", "evaluate.finetune")
    program = f"import importlib\nfor name in {names}: importlib.import_module('worldjepa.' + name)"
    loaded = set(fresh(program, tmp_path)["loaded"])  # type: ignore[call-overload]
    assert not {"modalities", "timm", "torchvision", "torchaudio", "decord"} & loaded


def test_public_names() -> None:
    for name in worldjepa.__all__:
        assert getattr(worldjepa, name) is not None
    assert set(worldjepa.__all__) <= set(dir(worldjepa))
    assert worldjepa.__version__.startswith("0.1")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = worldjepa.Nothing  # type: ignore[attr-defined]
