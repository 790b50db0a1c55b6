"""A finished run leaves pictures for its report, and none of them changes how it went."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from modalities.image.data import Patterns
from modalities.image.depiction import Images
from modalities.image.tokenizer import Patches
from train.toy import MODEL, RUN
from worldjepa.cli import main
from worldjepa.cli.visualize import understood
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.masks import MultiBlock
from worldjepa.train.logs import Screen
from worldjepa.train.pictures import draw
from worldjepa.visual.depiction import Depiction

NAMES = ("masks", "pca")


def photos(root: Path, count: int = 8) -> Path:
    (root / "one").mkdir(parents=True)
    rng = torch.Generator().manual_seed(0)
    for number in range(count):
        pixels = torch.randint(256, (40, 40, 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(root / "one" / f"{number}.png")
    return root


def train(tmp_path: Path, *words: str) -> int:
    data = ["data=folder", f"data.root={photos(tmp_path / 'photos')}", "data.size=32", "data.channels=3"]
    own = ["preset=quickstart", "run.steps=2", "probe.enabled=true", f"run.out={tmp_path / 'run'}"]
    return main(["train", *MODEL, *RUN, *data, *own, *words])


def test_a_finished_run_has_pictures_in_its_report(tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    for name in NAMES:
        with Image.open(tmp_path / f"run/pictures/{name}.png") as picture:
            assert min(picture.size) > 50
        words = json.loads((tmp_path / f"run/pictures/{name}.json").read_text())
        assert words["command"].startswith(f"worldjepa visualize {name} checkpoint={tmp_path / 'run'} count=3 ")
        understood(words["command"].split()[2:], [])
        assert words["title"] in page
    assert page.count("data:image/png;base64,") == len(NAMES)


@pytest.mark.parametrize("word", ["run.report=false", "probe.enabled=false"])
def test_runs_that_are_not_looked_at_have_none(tmp_path: Path, word: str) -> None:
    assert train(tmp_path, word) == 0
    assert not (tmp_path / "run/pictures").exists()


def drawn(tmp_path: Path, depict: object, folder: str = "run") -> tuple[Path, str]:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 24, channels=1), 24, 1, 2)
    observations = Patterns(size=16, count=20, cache=str(tmp_path / "cache")).train()
    told = io.StringIO()
    out = tmp_path / folder
    out.mkdir()
    screen = Screen(1, 0, Console(file=told, width=200), enabled=True)
    assert callable(depict)
    draw(out, encoder, MultiBlock(min_context=2), observations, depict, screen)
    return out, told.getvalue()


def test_the_same_run_leaves_the_same_pictures(tmp_path: Path) -> None:
    one, told = drawn(tmp_path, Images)
    other, _ = drawn(tmp_path, Images, "other")
    assert told == ""
    for name in NAMES:
        file = f"pictures/{name}.png"
        assert (one / file).read_bytes() == (other / file).read_bytes()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("nothing says how these are drawn"), "nothing says how these are drawn"),
        (RuntimeError("out of\nmemory"), "RuntimeError: out of memory"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, error: Exception, told: str) -> None:
    def unknown() -> Depiction:
        raise error

    out, said = drawn(tmp_path, unknown)
    assert f"not all pictures of this run could be drawn: {told}\n" in said
    assert not (out / "pictures").exists()
