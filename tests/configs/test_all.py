"""Every shipped option composes, fits its constructor and can be built, and the official numbers are the official ones."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modalities.image.data import Folder
from worldjepa.cli.compose import Composed, compose_config, config_folder
from worldjepa.cli.options import open_library
from worldjepa.cli.validate import settings, validate
from worldjepa.jepa import JEPA
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.schedules import plan
from worldjepa.types import Batch

GROUPS = open_library(config_folder(), []).groups()
OPTIONS = [(group, option) for group, options in GROUPS.items() for option in options]

OWN = {
    "data=folder": ["data.root={tmp}"],
    "data=imagenet": ["data.root={tmp}"],
    "data=imagenet_448": ["data.root={tmp}"],
    "data=manifest": ["data.path={tmp}/list.csv"],
    **{f"data={name}": ["data.root={tmp}"] for name in ("cifar10", "cifar100", "clevr", "places205", "inat18")},
    **{f"data={name}": ["data.root={tmp}"] for name in ("ade20k", "davis", "nyu_depth")},
    **{f"data={name}": ["data.root={tmp}"] for name in ("videos", "kinetics", "ssv2", "diving48", "jester")},
    "data=epic100": ["data.root={tmp}"],
    **{f"data={name}": ["data.path={tmp}/list.csv"] for name in GROUPS["data"] if name.startswith("video_list")},
    "data=episodes": ["data.root={tmp}"],
    "data=droid": ["data.root={tmp}"],
    "method=vjepa2_ac": ["modality=trajectory"],
    "preset=droid_vjepa2_ac_vitg16": ["data.root={tmp}"],
    "data=gym": ["data.name=Pendulum-v1", "data.root={tmp}"],
    "preset=reference_trajectory": ["data.root={tmp}"],
    **{f"arch={name}": ["modality=trajectory"] for name in GROUPS["arch"] if name.endswith("_frames")},
    **{
        f"predictor={name}": ["modality=trajectory"]
        for name in ("residual_mlp", "ensemble_mlp", "recurrent", "causal_vit", "vjepa2_ac")
    },
    **{f"objective={name}": ["modality=trajectory"] for name in ("world_sigreg", "world_vicreg")},
    **{f"method={name}": ["modality=trajectory"] for name in GROUPS["method"] if name.startswith("world_")},
    **{f"levels={name}": ["modality=trajectory"] for name in ("two", "own", "on_top", "three_on_top")},
    "arch=timm": ["arch.encoder.name=vit_tiny_patch16_224"],
    **{f"preset={name}": ["data.root={tmp}"] for name in GROUPS["preset"] if name.startswith("in")},
    **{f"preset={name}": ["data.path={tmp}/list.csv"] for name in GROUPS["preset"] if name.startswith("vjepa")},
    **{f"data={name}": ["data.root={tmp}"] for name in ("sounds", "esc50", "urbansound8k", "speech_commands")},
    **{f"data={name}": ["data.root={tmp}"] for name in GROUPS["data"] if name.startswith("audioset")},
    **{f"data={name}": ["data.root={tmp}"] for name in ("nsynth", "fsd50k", "gtzan")},
    "data=hear": ["data.root={tmp}", "data.task=esc50"],
    **{f"preset={name}": ["data.root={tmp}"] for name in ("mae_in1k_vitb16_ep800", "lejepa_imagenette_vits8")},
    **{f"preset={name}": ["data.root={tmp}"] for name in ("ajepa_as2m_vitb", "audiojepa_as_vitb", "m2d_as_vitb")},
}
"""What options need besides their name."""


@functools.cache
def composed(*words: str) -> Composed:
    """A composition that has been validated."""
    result = compose_config("train", words)
    validate(result.config)
    return result


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_validates(group: str, option: str, tmp_path: Path) -> None:
    word = f"{group}={option}"
    config = composed(word, *(need.format(tmp=tmp_path) for need in OWN.get(word, []))).config
    assert set(config) == {"seed", *GROUPS} - {"method", "preset"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_says_what_it_is(group: str, option: str) -> None:
    lines = GROUPS[group][option].read_text().splitlines()
    first = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert first.startswith("# ")
    assert len(first) > 20
    assert first.endswith((".", ")"))


def test_methods_and_presets_only_choose_options() -> None:
    for group in ("method", "preset"):
        for option, file in GROUPS[group].items():
            lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
            assert lines[0] == "defaults:", option
            assert all(line.startswith("  - override /") for line in lines[1:]), option


SIZES = {  # width, depth, heads, depth and heads of the predictor
    "t": (192, 12, 3, 6, 3),
    "s": (384, 12, 6, 6, 6),
    "b": (768, 12, 12, 6, 12),
    "l": (1024, 24, 16, 12, 16),
    "h": (1280, 32, 16, 12, 16),
    "g": (1408, 40, 16, 16, 16),
}
SIZED = re.compile(r"vit[a-z]\d+")
PUBLISHED = {  # millions of parameters of encoder and predictor
    "vitb16": (85.65, 11.24),
    "vitl16": (303.1, 22.08),
    "vith14": (630.4, 22.28),
    "vith16": (630.7, None),
    "vitg16": (1011.1, 29.48),
}


def test_every_size_comes_with_every_patch() -> None:
    names = {f"vit{size}{patch}" for size in SIZES for patch in (8, 14, 16)}
    assert {name for name in GROUPS["arch"] if SIZED.fullmatch(name)} == names


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("arch", sorted(name for name in GROUPS["arch"] if SIZED.fullmatch(name)))
def test_every_size_can_be_built(arch: str) -> None:
    width, depth, heads, predictor_depth, predictor_heads = SIZES[arch[3]]
    patch = int(arch[4:])
    config = composed("data=shapes", "data.size=224", f"arch={arch}").config
    with torch.device("meta"):
        model = build_model(config, steps=10)
    assert model.encoder.dim == width
    assert model.encoder.grid((3, 224, 224)) == (1, 224 // patch, 224 // patch)
    assert (len(model.encoder.blocks), model.encoder.blocks[0].attn.heads) == (depth, heads)  # type: ignore[arg-type, index, union-attr]
    blocks = model.predictor.predictor_blocks
    assert (len(blocks), blocks[0].attn.heads) == (predictor_depth, predictor_heads)  # type: ignore[arg-type, index, union-attr]
    assert model.predictor.dim == min(width, 384)
    if arch in PUBLISHED:
        encoder, predictor = PUBLISHED[arch]
        assert millions(model.encoder) == pytest.approx(encoder, rel=1e-3)
        assert predictor is None or millions(model.predictor) == pytest.approx(predictor, rel=1e-3)


@pytest.mark.parametrize(
    "words",
    [
        ("data=patterns", "arch=quickstart"),
        ("data=shapes", "data.size=224", "arch=timm:vit_tiny_patch16_224"),
        ("data=shapes", "data.size=64", "arch=vitt8"),
    ],
    ids=["quickstart", "timm", "vitt8"],
)
def test_small_models_run(words: tuple[str, ...]) -> None:
    config = composed(*words).config
    model: JEPA = build_model(config, steps=10)
    shape = (config.data.channels, config.data.size, config.data.size)
    masks = build_sampler(config)(model.encoder.grid(shape), 2, torch.Generator().manual_seed(0))
    terms = model(Batch(torch.zeros(2, *shape, dtype=torch.uint8), masks))
    assert list(terms) == ["smooth_l1"]
    assert torch.isfinite(terms["smooth_l1"])


OFFICIAL: dict[str, dict[str, Any]] = {
    "in1k_vith14_ep300": {"epochs": 300, "crop": 224, "patch": 14, "batch": 128, "devices": 16, "warmup": 40},
    "in1k_vith16_448_ep300": {"epochs": 300, "crop": 448, "patch": 16, "batch": 16, "devices": 128, "warmup": 40},
    "in22k_vith14_ep66": {"epochs": 66, "crop": 224, "patch": 14, "batch": 32, "devices": 64, "warmup": 3},
    "in22k_vitg16_ep44": {"epochs": 44, "crop": 224, "patch": 16, "batch": 16, "devices": 128, "warmup": 3},
}
"""I-JEPA's published configurations."""


def header(preset: str) -> dict[str, str]:
    """The `name: value` lines at the head of a preset."""
    lines = [line.removeprefix("# ") for line in GROUPS["preset"][preset].read_text().splitlines()]
    split = (line.partition(":") for line in lines)
    return {name: text.strip() for name, _, text in split if name in {"paper", "command", "expected", "hardware"}}


@pytest.fixture
def official(tmp_path: Path) -> Callable[[str], Composed]:
    """Composes the command that a preset's header gives."""

    def compose(preset: str) -> Composed:
        program, verb, *words = shlex.split(header(preset)["command"].replace("DIR", str(tmp_path)))
        assert (program, verb, words[0]) == ("worldjepa", "train", f"preset={preset}")
        return composed(*words)

    return compose


def test_no_official_preset_is_missing() -> None:
    assert {name for name in GROUPS["preset"] if name.startswith("in")} == set(OFFICIAL)


@pytest.mark.parametrize("preset", OFFICIAL)
def test_the_head_of_a_preset_tells_all(preset: str) -> None:
    told = header(preset)
    assert set(told) == {"paper", "command", "expected", "hardware"}
    assert "arXiv 2301.08243" in told["paper"]
    assert "%" in told["expected"]
    assert f"{OFFICIAL[preset]['devices']} GPUs" in told["hardware"]


@pytest.mark.parametrize("preset", OFFICIAL)
def test_official_numbers(preset: str, official: Callable[[str], Composed]) -> None:
    config, numbers = official(preset).config, OFFICIAL[preset]
    giant = "vitg" in preset
    assert config.run.epochs == numbers["epochs"]
    assert config.run.batch_size == numbers["batch"]
    assert config.run.devices * config.run.num_nodes == numbers["devices"]
    assert config.run.batch_size * numbers["devices"] == 2048
    assert config.run.precision == "bf16-mixed"
    assert config.data.size == numbers["crop"]
    assert list(config.data.crop_scale) == [0.3, 1.0]
    assert config.arch.patch == numbers["patch"]
    assert config.arch.dim == (1408 if giant else 1280)
    assert config.predictor.depth == (16 if giant else 12)
    assert config.predictor.dim == 384
    assert config.masks == {
        "_target_": "worldjepa.masks.MultiBlockOfficial",
        "targets": 4,
        "target_scale": [0.15, 0.2],
        "target_aspect": [0.75, 1.5],
        "context_scale": [0.85, 1.0],
        "min_keep": 10,
    }
    check_optimisation(config, numbers["warmup"])


def check_optimisation(config: Any, warmup: float) -> None:
    """What all of I-JEPA's configurations share, from the typed settings, so that defaults count."""
    run, optim, _ = settings(config)
    assert run.clip_norm is None
    assert run.accumulate == 1
    assert (optim.start_lr, optim.lr, optim.final_lr) == (2e-4, 1e-3, 1e-6)
    assert (optim.weight_decay, optim.final_weight_decay) == (0.04, 0.4)
    assert (optim.betas, optim.eps) == ((0.9, 0.999), 1e-8)
    assert optim.ipe_scale == 1.0
    assert (optim.warmup_epochs, optim.warmup_steps, optim.warmup_share) == (warmup, None, None)
    assert (config.target.start, config.target.end) == (0.996, 1.0)
    assert config.objective == {"_target_": "worldjepa.objectives.SmoothL1", "beta": 1.0}


def test_the_schedule_of_imagenet_1k(official: Callable[[str], Composed]) -> None:
    run, optim, _ = settings(official("in1k_vith14_ep300").config)
    schedule = plan(run, optim, samples=1_281_167, processes=16)
    assert schedule.global_batch == 2048
    assert schedule.steps == schedule.schedule == pytest.approx(300 * 625.6, rel=1e-4)
    assert schedule.warmup == pytest.approx(40 * 625.6, rel=1e-4)
    assert schedule.lr(schedule.warmup - 1) == pytest.approx(1e-3)
    assert schedule.lr(schedule.steps - 1) == pytest.approx(1e-6)
    assert schedule.weight_decay(schedule.steps - 1) == pytest.approx(0.4)


def test_own_pictures_get_the_reference_settings(tmp_path: Path) -> None:
    result = composed("modality=image", "arch=vith14", f"data.root={tmp_path}")
    config = result.config
    assert [note.split(",")[0] for note in result.notes] == ["data=folder", "preset=reference"]
    assert config.data._target_ == f"modalities.image.data.{Folder.__name__}"
    assert config.data.root == str(tmp_path)
    assert config.data.size == 224
    assert (config.arch.patch, config.arch.dim) == (14, 1280)
    assert config.masks._target_ == "worldjepa.masks.MultiBlock"
    assert (config.run.epochs, config.run.batch_size, config.run.precision) == (300, 128, "bf16-mixed")
    check_optimisation(config, warmup=40)
    published = composed("preset=in1k_vith14_ep300", f"data.root={tmp_path}").config
    for group in ("modality", "arch", "predictor", "target", "objective", "optim", "run"):
        assert config[group] == published[group], group
