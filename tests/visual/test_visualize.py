"""`worldjepa visualize` from end to end, on toy runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from train.toy import TINY
from world.test_verbs import TOY

from modalities.image import embedded as images
from modalities.trajectory import embedded as walks
from worldjepa.cli import main
from worldjepa.cli.compose import compose_config
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source

SMALL = {"train": 24, "val": 12, "test": 12}


def untrained(folder: Path, words: list[str], steps: int) -> Path:
    """A run folder with checkpoints of other random weights for each step."""
    config = compose_config("train", words).config
    observations = build_source(config).train()
    for step in range(1, steps + 1):
        torch.manual_seed(step)
        model = build_model(config, 1, observations)
        optimizer = torch.optim.SGD(model.parameters())
        for group in optimizer.param_groups:
            group["names"] = [name for name, _ in model.named_parameters()]
        yaml = OmegaConf.to_yaml(config, resolve=True)
        checkpoint.save(folder / "checkpoints", step, model, optimizer, {}, yaml)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two checkpoints of images, and one in a world of rooms."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "images": untrained(folder / "images", [*TINY, "data=shapes", "data.count=32"], 2),
        "rooms": untrained(folder / "rooms", TOY, 1),
    }


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (images, walks):
        monkeypatch.setattr(source, "PROBE_SIZES", SMALL)


def drawn(out: Path, *words: str) -> dict[str, Any]:
    """Draw, and return what the file of numbers holds."""
    assert main(["visualize", *words, f"out={out}"]) == 0
    with Image.open(out) as picture:
        assert min(picture.size) > 100
        assert len(picture.getcolors(1 << 24) or ()) > 10
    found: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())
    return found


@pytest.mark.parametrize(
    ("run", "words", "key"),
    [
        ("images", ["masks", "samples=16", "masks=random", "progress=0.5"], "coverage"),
        ("images", ["pca", "over=6", "count=3", "foreground=auto"], "checkpoints"),
        ("images", ["attention", "head=1", "layer=0", "token=0,1,2", "count=1"], "effective_tokens"),
        ("images", ["neighbours", "k=3", "factor=texture", "count=2"], "same_class"),
        ("images", ["similarity", "over=6"], "mean_rank"),
        ("rooms", ["masks", "samples=2", "draws=1"], "coverage"),
        ("rooms", ["pca", "over=4", "data.layout=snake"], "checkpoints"),
        ("rooms", ["similarity", "over=4", "count=1"], "mean_rank"),
        ("rooms", ["energy", "side=4", "hold=2", "over=3", "count=2", "env.layout=snake", "planner=random"], "angle"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_every_kind(
    run: str, words: list[str], key: str, runs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = drawn(tmp_path / "a.png", *words, f"checkpoint={runs[run]}")
    assert key in found
    assert found["kind"] == words[0]
    printed = capfd.readouterr()
    assert "a.png" in printed.out + printed.err
    assert (tmp_path / "a.gif").exists() == (words[0] == "pca" and run == "rooms")


def test_all_checkpoints_of_a_run_are_shown_by_the_basis_of_the_last(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = runs["images"] / "checkpoints"
    words = ["pca", "over=4", "count=2"]
    every = drawn(tmp_path / "a.png", *words, f"checkpoint={runs['images']}")
    assert [one["name"] for one in every["checkpoints"]] == ["step 1", "step 2"]
    two = drawn(tmp_path / "b.png", *words, f"checkpoint={max(folder.iterdir())}")
    assert every["checkpoints"][1] == two["checkpoints"][0]
    assert sum(every["checkpoints"][0]["held"]) < sum(two["checkpoints"][0]["held"])
    listed = ",".join(map(str, sorted(folder.iterdir())))
    again = drawn(tmp_path / "c.png", *words, f"checkpoint=[{listed}]")
    assert again["checkpoints"] == every["checkpoints"]
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    drawn(tmp_path / "d.png", *words, f"checkpoint={runs['images']}", "seed=1")
    assert (tmp_path / "d.png").read_bytes() != (tmp_path / "a.png").read_bytes()


def test_masks_of_a_configuration_alone(tmp_path: Path) -> None:
    words = ["method=data2vec2", "data.count=32", "arch=vitt16", "arch.patch=4", "count=1", "samples=8", "seed=3"]
    found = drawn(tmp_path / "a.png", "masks", *words)
    assert found["sampler"] == "KeptBlocks"
    assert found["masks"][0]["contexts"] == 8
    assert found["grid"] == [1, 16, 16]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "visualize needs a kind first"),
        (["checkpoint=RUN"], "visualize needs a kind first"),
        (["pac", "checkpoint=RUN"], "kind of picture 'pac' is not known (did you mean 'pca'?)"),
        (["pca"], "visualize pca needs checkpoint=..."),
        (["pca", "checkpoint=RUN", "foregrund=auto"], "key 'foregrund' is not one of visualize pca's"),
        (["pca", "checkpoint=RUN", "foreground=sky"], "foreground 'sky' is not known"),
        (["pca", "checkpoint=RUN", "head=1"], "key 'head' is not one of visualize pca's"),
        (["pca", "checkpoint=RUN", "layer=x"], "layer=x: must be a whole number"),
        (["pca", "checkpoint=RUN", "out=a.jpg"], "out=a.jpg: name a file that ends in .png"),
        (["pca", "checkpoint=[RUN,RUN]"], "the same checkpoint is given twice"),
        (["masks", "checkpoint=RUN", "progress=2"], "progress=2: must lie between 0 and 1"),
        (["masks", "method=ijpea"], "did you mean 'ijepa'"),
        (["masks", "drawz=2"], "key 'drawz' is not known"),
        (["attention", "checkpoint=[RUN,RUN]"], "only pca shows several checkpoints"),
        (["attention", "checkpoint=RUN", "token=9,0,0"], "token=9,0,0 is not on the lattice of 1 x 8 x 8"),
        (["attention", "checkpoint=ROOMS"], "ConvFrames has no attention to show"),
        (["attention", "checkpoint=RUN", "head=1.5"], "head=1.5: give whole numbers"),
        (["neighbours", "checkpoint=RUN", "k=1000"], "k=1000 must be at least 1 and at most 24"),
        (["energy", "checkpoint=RUN"], "was not trained in an environment with goals"),
        (["energy", "checkpoint=ROOMS", "cost=reach"], "cost 'reach' is not known"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word.replace("RUN", str(runs["images"])).replace("ROOMS", str(runs["rooms"])) for word in words]
    assert main(["visualize", *given]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert message in line


def test_released_weights_have_no_predictor(
    runs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import worldjepa

    worldjepa.save(worldjepa.load(runs["images"]), tmp_path / "saved")
    words = [f"checkpoint={tmp_path / 'saved'}", "data=shapes", "data.count=32"]
    assert drawn(tmp_path / "a.png", "attention", *words, "count=1")["heads"] == 2
    capfd.readouterr()
    assert main(["visualize", "similarity", *words]) == 2
    assert "is no run of `worldjepa train`: similarity needs its configuration" in capfd.readouterr().err
    assert main(["visualize", "pca", words[0]]) == 2
    assert "brings no data with it" in capfd.readouterr().err
