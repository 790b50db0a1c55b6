"""The configurations for sounds: the published numbers are the published ones, and the small models run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.test_all import GROUPS, composed, header, millions
from modalities.audio.data import ESC50, AudioSet, Sounds, SpeechCommands, Tunes, UrbanSound8K, Words
from worldjepa.cli.validate import settings
from worldjepa.interfaces import Tokenizer
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.schedules import plan
from worldjepa.types import Batch

PRESETS = {
    "ajepa_as2m_vitb": ("2311.15830", 8, 512, (64, 8, 1)),
    "audiojepa_as_vitb": ("2507.02915", 4, 256, (32, 6, 1)),
    "m2d_as_vitb": ("2210.14648", 4, 2048, (38, 5, 1)),
}
"""Paper, devices, global batch and grid."""


def published(preset: str, tmp_path: Path) -> Any:
    """The configuration of the command that a preset's header gives."""
    words = shlex.split(header(preset)["command"].replace("DIR", str(tmp_path)))
    assert words[:3] == ["worldjepa", "train", f"preset={preset}"]
    return composed(*words[2:]).config


@pytest.mark.parametrize("preset", PRESETS)
def test_the_head_of_a_preset_tells_all(preset: str) -> None:
    told = header(preset)
    assert set(told) == {"paper", "command", "expected", "hardware"}
    assert f"arXiv {PRESETS[preset][0]}" in told["paper"]
    assert "not yet reproduced here" in told["expected"]
    assert f"{PRESETS[preset][1]} GPUs" in told["hardware"]


@pytest.mark.parametrize("preset", PRESETS)
def test_published_sizes(preset: str, tmp_path: Path) -> None:
    config = published(preset, tmp_path)
    _, devices, batch, grid = PRESETS[preset]
    run, optim, _ = settings(config)
    assert (run.devices, run.batch_size * devices, run.precision) == (devices, batch, "bf16-mixed")
    assert config.modality.axes == config.positions.axes == "ht"
    with torch.device("meta"):
        model = build_model(config, steps=10)
    tokenizer = next(part for part in model.encoder.modules() if isinstance(part, Tokenizer))
    assert tuple(model.encoder.grid((1, config.data.frames, tokenizer.front_end.bins))) == grid  # type: ignore[union-attr]
    assert millions(model.encoder) == pytest.approx(85.25, abs=0.5)  # a ViT-base
    build_sampler(config).at(0.5)(
        model.encoder.grid((1, config.data.frames, tokenizer.front_end.bins)), 4, torch.Generator()
    )  # type: ignore[union-attr]


def test_published_settings(tmp_path: Path) -> None:
    ajepa = published("ajepa_as2m_vitb", tmp_path)
    assert (ajepa.run.epochs, ajepa.optim.lr, ajepa.predictor.depth) == (24, 2e-4, 16)
    assert ajepa.objective._target_ == "worldjepa.objectives.MSE"
    first, second = ajepa.masks.first, ajepa.masks.second
    assert (first.targets, list(first.target_scale), second.targets) == (4, [0.15, 0.2], 3)
    assert (list(second.target_scale), ajepa.masks.start) == ([0.05, 0.075], 0.01)
    assert (ajepa.data.front_end, ajepa.data.frames, ajepa.data.seconds) == ("kaldi_16k", 1024, 10.0)

    audiojepa = published("audiojepa_as_vitb", tmp_path)
    run, optim, _ = settings(audiojepa)
    schedule = plan(run, optim, samples=2_000_000, processes=4)
    assert (schedule.steps, schedule.warmup, optim.betas) == (100_000, 1_000, (0.9, 0.95))
    assert (optim.start_lr, optim.lr, optim.final_lr) == (1e-6, 1e-3, 0.0)
    assert optim.weight_decay == optim.final_weight_decay == 1e-6
    assert (audiojepa.predictor.dim, audiojepa.predictor.depth, audiojepa.predictor.heads) == (384, 6, 12)
    assert list(audiojepa.masks.ratio) == [0.4, 0.6]
    assert (audiojepa.target.start, audiojepa.target.end, audiojepa.target.get("sees", "all")) == (0.996, 1.0, "all")

    m2d = published("m2d_as_vitb", tmp_path)
    run, optim, _ = settings(m2d)
    assert (run.epochs, run.clip_norm, optim.lr, optim.warmup_epochs) == (
        300,
        3.0,
        pytest.approx(3e-4 * 2048 / 256),
        20,
    )
    assert (optim.weight_decay, optim.betas) == (0.05, (0.9, 0.95))
    assert (m2d.predictor.dim, m2d.predictor.depth, m2d.predictor.heads) == (512, 8, 16)
    assert (m2d.target.start, m2d.target.end, m2d.target.sees) == (0.99995, 0.99999, "asked")
    assert (m2d.masks.ratio, m2d.objective._target_) == (0.7, "worldjepa.objectives.Cosine")


def test_the_quick_start_of_sounds() -> None:
    result = composed("modality=audio")
    assert result.config.data._target_ == f"modalities.audio.data.{Tunes.__name__}"
    assert [note.split(",")[0] for note in result.notes][-1] == "preset=quickstart_audio"


def test_words_take_the_small_model() -> None:
    result = composed("modality=audio", "data=words")
    assert result.config.data._target_ == f"modalities.audio.data.{Words.__name__}"
    assert "preset=quickstart_audio" in [note.split(",")[0] for note in result.notes]
    assert result.config.modality.tokenizer.front_end == result.config.data.front_end
    small = composed("modality=audio").config
    assert all(result.config[group] == small[group] for group in ("arch", "optim", "run", "masks"))
    assert list(composed("data=words").config.data) == list(result.config.data)


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ((), Sounds),
        (("data=esc50",), ESC50),
        (("data=urbansound8k",), UrbanSound8K),
        (("data=speech_commands",), SpeechCommands),
        (("data=audioset",), AudioSet),
    ],
)
def test_recordings_of_ones_own(words: tuple[str, ...], source: type, tmp_path: Path) -> None:
    modality = () if words else ("modality=audio",)  # data of a modality bring it along
    config = composed(*modality, *words, f"data.root={tmp_path}").config
    assert config.data._target_ == f"modalities.audio.data.{source.__name__}"
    assert config.data.root == str(tmp_path)
    assert config.modality.tokenizer.front_end == config.data.front_end
    assert (config.arch.dim, config.run.precision) == (768, "bf16-mixed")


METHODS = {"ajepa": "mse", "audiojepa": "cosine", "m2d": "cosine", "ijepa": "smooth_l1"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("modality", ["audio", "image"])
def test_small_models_run(method: str, modality: str) -> None:
    config = composed(
        f"modality={modality}", f"method={method}", f"preset=quickstart{'_audio' * (modality == 'audio')}"
    ).config
    model = build_model(config, steps=10)
    shape = (1, 64, 64)
    obs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    masks = build_sampler(config).at(0.5)(model.encoder.grid(shape), 2, torch.Generator().manual_seed(0))
    terms = model(Batch(obs, masks))
    assert list(terms) == [METHODS[method]]
    assert torch.isfinite(terms[METHODS[method]])


def test_every_audio_option_is_known_to_its_modality() -> None:
    owned = {name for name, file in GROUPS["data"].items() if "modalities.audio" in file.read_text()}
    assert {"tunes", "words", "sounds"} <= owned
    text = GROUPS["modality"]["audio"].read_text()
    assert all(name in text for name in owned)
