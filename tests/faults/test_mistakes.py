"""The ten most likely mistakes of whoever trains: one clear line each, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from train.toy import MODEL, contents

from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.train.settings import RunSettings
from worldjepa.train.team import launch

Record = Callable[..., None]

QUICK = ["run.accelerator=cpu", "run.tensorboard=false", "run.workers=0", "run.steps=2", "probe.enabled=false"]

MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    # what went wrong: the words, and what the answer must say
    "a folder that is not there": (["data.root={tmp}/photo"], ["photo", "did you mean", "photos"]),
    "a folder without images": (["data.root={tmp}/empty"], ["empty", "no image"]),
    "a path to one image": (["data.root={tmp}/photos/0.png"], ["0.png", "not a folder"]),
    "an image size that does not divide": (
        ["data.root={tmp}/photos", "data.size=100", "preset=quickstart"],
        ["100", "patches of 8", "96 and 104"],
    ),
    "a misspelt size of model": (["arch=vith41"], ["did you mean 'vith14'"]),
    "a key of another framework": (["trainer.max_epochs=3"], ["did you mean 'run.epochs'"]),
    "a GPU that is not there": (["run.accelerator=cuda"], ["run.accelerator=cuda", "worldjepa doctor"]),
    "a precision of another framework": (["run.precision=bf16"], ["run.precision=bf16", "'bf16-mixed'"]),
    "masks that leave no context": (
        [*MODEL, "arch.patch=8", "data.size=16", "data.count=64"],
        ["masks", "min_context"],
    ),
    "a run folder that holds something": (["run.out={tmp}/full"], ["is not empty", "run.resume=auto"]),
    "a checkpoint that is not there": (["run.resume={tmp}/nowhere"], ["no checkpoint in", "nowhere"]),
    "weights of another size": (["run.init_from={tmp}/nowhere"], ["nowhere"]),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_likely_mistake(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], record: Record) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(12):
        Image.new("RGB", (64, 64), (index * 20, 0, 0)).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("irreplaceable")
    before = contents(tmp_path)
    words, told = MISTAKES[what]
    filled = [word.format(tmp=tmp_path) for word in words]
    out = [] if any(word.startswith("run.out=") for word in filled) else [f"run.out={tmp_path / 'run'}"]
    assert main(["train", *QUICK, *filled, *out]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    for part in told:
        assert part in lines[0], lines[0]
    assert contents(tmp_path) == before
    record("mistakes", f"{what}: one line, exit 2, nothing written", 1)


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UserError, match=r"run\.devices=8: this machine has 2"):
        launch(RunSettings(accelerator="cuda", devices=8))
