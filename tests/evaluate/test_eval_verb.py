"""`worldjepa eval`: the numbers of the run again, other data, and no code of strangers."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from train.toy import contents, flip_a_byte, train

from modalities.image import embedded
from worldjepa.cli import main

NEWEST = "checkpoints/step-00000006"


@pytest.fixture(scope="module", autouse=True)
def small_splits(home: Path) -> Iterator[None]:
    """Fewer labelled images than the embedded sets come with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PROBE_SIZES", {"train": 300, "val": 100, "test": 200})
        patch.setenv("WORLDJEPA_HOME", str(home.with_name("home of small splits")))
        yield


@pytest.fixture(scope="module")
def measured(small_splits: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with probes."""
    out = tmp_path_factory.mktemp("measured") / "run"
    assert train(out, "probe.enabled=true", "run.save_every=3") == 0
    return out


def evaluate(tmp_path: Path, checkpoint: Path, *words: str) -> dict[str, dict[str, float]]:
    """The scores that the verb writes, by row."""
    assert main(["eval", f"checkpoint={checkpoint}", f"out={tmp_path / 'eval.json'}", *words]) == 0
    scores: dict[str, dict[str, float]] = json.loads((tmp_path / "eval.json").read_text())["scores"]
    return scores


def of_encoder(scores: dict[str, float]) -> dict[str, float]:
    """What is known without the predictor."""
    return {name: value for name, value in scores.items() if not name.startswith(("eval/prediction", "eval/mean"))}


def test_a_run_measures_probes_and_baselines(measured: Path) -> None:
    report = json.loads((measured / "report.json").read_text())
    probes = {"eval/linear_top1", "eval/knn_top1"}
    assert set(report["baselines"]) == {"chance", "raw input", "untrained encoder"}
    assert set(report["baselines"]["chance"]) == set(report["baselines"]["raw input"]) == probes
    assert probes < set(report["trained"]) == set(report["baselines"]["untrained encoder"])


@pytest.mark.parametrize("place", [".", NEWEST])
def test_the_numbers_are_those_of_the_run(
    place: str, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(measured)
    scores = evaluate(tmp_path, measured / place)
    report = json.loads((measured / "report.json").read_text())
    assert scores == {
        **{label: of_encoder(row) for label, row in report["baselines"].items()},
        "trained encoder (6 steps)": of_encoder(report["trained"]),
    }
    assert contents(measured) == before
    told = capsys.readouterr().out
    assert "trained encoder (6 steps)" in told
    assert "raw input" in told


def test_what_else_the_file_says(measured: Path, tmp_path: Path) -> None:
    evaluate(tmp_path, measured / "checkpoints" / "step-00000003", "probe.enabled=false")
    told = json.loads((tmp_path / "eval.json").read_text())
    assert told["steps"] == 3
    assert told["checkpoint"].endswith("step-00000003")
    assert set(told["scores"]["trained encoder (3 steps)"]) == {"collapse/rankme", "collapse/feature_std"}


def test_other_data_take_the_place_of_the_runs_own(measured: Path, tmp_path: Path) -> None:
    few = ("data.count=64", "probe.max_train=60", "probe.max_test=40")
    scores = evaluate(tmp_path, measured, "data=shapes", "data.size=32", "data.channels=1", *few)
    trained = scores["trained encoder (6 steps)"]
    assert {"eval/linear_top1", "eval/hue/linear_top1", "eval/x/knn_top1"} < set(trained)
    assert set(scores["chance"]) == set(scores["raw input"]) == {name for name in trained if name.startswith("eval/")}


def test_single_keys_take_the_place_of_the_runs_own(measured: Path, tmp_path: Path) -> None:
    label = "trained encoder (6 steps)"
    clean = evaluate(tmp_path, measured, "data.noise=0.01", "probe.knn_k=5")[label]
    assert clean["collapse/feature_std"] != evaluate(tmp_path, measured)[label]["collapse/feature_std"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["eval", *words]) == 2
    return capsys.readouterr().err


def test_data_that_the_model_cannot_see(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, f"checkpoint={measured}", "data.channels=3", "probe.enabled=false")
    assert "the images have 3 channel(s), but the tokenizer was built for 1" in error


@pytest.mark.parametrize("file", ["model.safetensors", "config.yaml"])
def test_a_damaged_checkpoint(file: str, measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(measured / NEWEST, tmp_path / "step-00000006"))
    flip_a_byte(copy / file)
    error = refused(capsys, f"checkpoint={copy}")
    assert f"is damaged: {file} does not have the checksum" in error


@pytest.fixture
def rewritten(measured: Path, tmp_path: Path) -> Callable[[str, Any], Path]:
    """Makes a sound checkpoint whose configuration says something else."""

    def rewrite(key: str, value: Any) -> Path:
        copy = Path(shutil.copytree(measured / NEWEST, tmp_path / "step-00000006"))
        config = OmegaConf.load(copy / "config.yaml")
        assert isinstance(config, DictConfig)
        OmegaConf.update(config, key, value, merge=False)
        text = OmegaConf.to_yaml(config)
        (copy / "config.yaml").write_text(text)
        manifest = json.loads((copy / "MANIFEST.json").read_text())
        manifest["config.yaml"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        (copy / "MANIFEST.json").write_text(json.dumps(manifest))
        return copy

    return rewrite


FOREIGN = """
from pathlib import Path

from worldjepa.objectives import SmoothL1

Path(__file__).with_name("imported").touch()


class Loss(SmoothL1):
    pass
"""


def test_classes_of_strangers_need_leave(
    rewritten: Callable[[str, Any], Path],
    measured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "foreignparts.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(str(tmp_path))
    copy = rewritten("objective", {"_target_": "foreignparts.Loss"})
    error = refused(capsys, f"checkpoint={copy}")
    assert "would construct foreignparts.Loss (at objective)" in error
    assert "allow=foreignparts." in error
    assert not (tmp_path / "imported").exists()

    try:
        scores = evaluate(tmp_path, copy, "allow=another.,foreignparts.")
    finally:
        sys.modules.pop("foreignparts", None)
    assert (tmp_path / "imported").exists()
    report = json.loads((measured / "report.json").read_text())
    assert scores["trained encoder (6 steps)"] == of_encoder(report["trained"])


@pytest.mark.parametrize(
    "target",
    [
        *("torch.hub.load", "torch.load", "torch.utils.data.DataLoader", "torch.os.system"),
        *("worldjepa.train.folder.subprocess.Popen", "worldjepa.cli.main", "worldjepa.train.folder.Path"),
    ],
)
def test_a_trusted_name_is_not_enough(
    target: str, rewritten: Callable[[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = rewritten("objective", {"_target_": "worldjepa.objectives.Sum", "parts": [{"_target_": target}]})
    assert f"would construct {target} (at objective.parts.0)" in refused(capsys, f"checkpoint={copy}")


def test_a_configuration_that_is_of_another_model(
    rewritten: Callable[[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = rewritten("arch.encoder.depth", 2)
    assert "does not fit this model: 24 missing: encoder.blocks.1." in refused(capsys, f"checkpoint={copy}")
