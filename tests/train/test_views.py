"""Runs on several views: they resume bit for bit, measure themselves, and are refused where there is one view."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from configs.test_all import GROUPS
from golden.regenerate import RUN, SMALL, TOY
from omegaconf import OmegaConf

import worldjepa
from modalities.image.observations import ArrayObservations, checked_looks
from modalities.image.tokenizer import Patches
from modalities.image.views import Look, Looks
from train.toy import differing, losses, tensors
from worldjepa.cli import main
from worldjepa.data.views import Single, Views
from worldjepa.distillation import Prototypes
from worldjepa.encoders import ViT
from worldjepa.evaluate.judge import prediction
from worldjepa.interfaces import Objective
from worldjepa.jepa import JEPA
from worldjepa.masks import Random
from worldjepa.objectives import MSE, Invariance
from worldjepa.predictors import MaskTokenViT, Projector
from worldjepa.targets import EMA, Mutual
from worldjepa.train.build import construct
from worldjepa.train.monitor import Trial
from worldjepa.types import Grid

WORDS = [*RUN, *TOY["image"], "run.steps=4", "run.batch_size=4", "run.save_every=2", "run.keep=5"]


def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    words = ["train", *WORDS, "method=ibot", *SMALL["ibot"], "run.accumulate=2", f"run.out={tmp_path}"]
    assert main(words) == 0
    expected, told = tensors(tmp_path, "step-00000004"), losses(tmp_path)
    assert bool(expected["target.centres"].abs().sum() > 0)
    assert float(expected["target.temperature"]) == pytest.approx(0.07)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000004")
    assert main([*words, "run.resume=auto"]) == 0
    assert differing(tensors(tmp_path, "step-00000004"), expected) == []
    assert losses(tmp_path) == told
    loaded = worldjepa.load(tmp_path)
    assert isinstance(loaded.predictor, Prototypes)
    assert torch.equal(loaded.predictor.head.prototypes, expected["predictor.head.prototypes"])


def test_a_run_whose_answers_are_pixels_loads_again(tmp_path: Path) -> None:
    assert main(["train", *WORDS, "method=mae", "run.steps=1", f"run.out={tmp_path}"]) == 0
    images, index = torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.arange(20)[None]
    assert worldjepa.load(tmp_path).predict(images, index[:, :12], index[:, None, 12:]).x.shape == (1, 1, 8, 4 * 4)


@pytest.mark.parametrize("name", sorted(GROUPS["views"]))
def test_every_option_of_views_makes_so_many(name: str) -> None:
    views: Views = construct(OmegaConf.load(GROUPS["views"][name]), Views)  # type: ignore[arg-type, type-abstract]
    assert (
        views.count
        == {"none": 1, "mae": 1, "vicreg": 2, "ibot": 2, "lejepa": 4, "lejepa_multicrop": 8, "shape": 2}[name]
    )
    if not isinstance(views, Single):
        observations = ArrayObservations(pictures().numpy(), looks=checked_looks(views))
        seen = observations.observe(0, torch.Generator().manual_seed(0))
        assert isinstance(seen, torch.Tensor)
        assert seen.shape == ((views.count, 1, 16, 16) if views.count > 1 else (1, 16, 16))


def pictures() -> torch.Tensor:
    return torch.randint(256, (70, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("answered", [True, False])
def test_views_are_measured_where_there_are_answers(answered: bool) -> None:
    observations = ArrayObservations(pictures().numpy(), looks=Looks([Look(count=2)]))
    encoder = ViT(Patches(4, 16, channels=1), dim=16, depth=1, heads=2)
    predictor = MaskTokenViT(16, 12, 1, 2) if answered else Projector(16, 4, 8)
    target, objective = EMA(encoder, 10) if answered else Mutual(encoder), MSE() if answered else Invariance()
    assert isinstance(objective, Objective)
    model = JEPA(encoder, predictor, target, objective, views=2)
    trial, again = (Trial(observations, Random(), Grid(1, 4, 4), 0) for _ in range(2))
    assert trial.obs.shape == (64, 2, 1, 16, 16)
    assert torch.equal(trial.obs, again.obs)
    assert not torch.equal(trial.obs[:, 0], trial.obs[:, 1])
    scores = prediction(model, trial.obs, trial.masks)
    names = {"eval/prediction_loss", "eval/mean_baseline_loss", "eval/prediction_ratio"}
    assert set(scores) == (names if answered else set())
    assert all(value > 0 for value in scores.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("modality=video views=vicreg", "modalities.video.embedded.Moving shows one: several are for images"),
        ("method=vicreg views=none", "there is one: choose views="),
        ("method=mae predictor=lejepa", "do not go together; choose all of them by method="),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data.count=16", "run.steps=1"]
    assert main(["train", *words.split(), *RUN, *small, f"run.out={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "run/metrics.csv").exists()  # before anything is measured
