"""The constructor is the schema: targets, keys, types and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from omegaconf import DictConfig, OmegaConf

from worldjepa.cli.agree import agrees, name_of
from worldjepa.cli.compose import compose_config
from worldjepa.cli.schema import locate, schema_of
from worldjepa.cli.validate import settings, validate
from worldjepa.errors import UserError
from worldjepa.train.settings import ProbeSettings


def composed(*words: str) -> DictConfig:
    return compose_config("train", words).config


def changed(key: str, value: object) -> DictConfig:
    """The toy configuration with one key set, whatever the command line would say to it."""
    config = composed()
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, value, force_add=True, merge=False)
    return config


def test_the_toy_configuration_is_valid(toy: Path) -> None:
    validate(composed())
    validate(composed("preset=reference"))
    validate(composed("arch=timm:x", "masks=random", "seed=3"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("foo", 1, "top-level key 'foo'"),
        ("masks", None, "no 'masks'"),
        ("seed", True, "seed=True"),
        ("seed", 1.5, "seed=1.5"),
        ("masks._target_", "toyparts.Block", "did you mean 'Blocks'"),
        ("masks._target_", "toyprts.Blocks", "no package 'toyprts'"),
        ("masks._target_", "worldjepa.mask.Random", "did you mean 'masks'"),
        ("masks._target_", "toyparts.not_callable", "not a class or function"),
        ("masks._target_", 3, "must be a dotted path"),
        ("masks._target_", "???", "must be a dotted path"),
        ("masks.tragets", 3, "did you mean 'masks.targets'"),
        ("masks.targets", "four", "masks.targets=four: must be int"),
        ("masks.targets", True, "must be int"),
        ("masks.targets", None, "masks.targets=null"),
        ("masks.scale", [0.1], "a list of 2"),
        ("masks.scale", [0.1, "x"], "masks.scale"),
        ("predictor.names", [1], "predictor.names"),
        ("arch.encoder", {"_target_": "toyparts.ViT", "dim": 3}, "arch.encoder.depth is missing"),
        ("target._target_", "toyparts.Inherits", None),
        ("target.start", 1, None),
        ("target", {"_target_": "toyparts.Ema", "_partial_": True}, None),
        ("data", {"_target_": "toyparts.make", "channels": 3}, "'data.channels'"),
        ("masks.other", 3, None),
        ("run.steps", 2.5, "run.steps=2.5"),
        ("run.epochs", 2, "given together"),
        ("run.batch_size", -1, "run.batch_size=-1"),
        ("run.workers", -1, "run.workers=-1: must be 0 or more"),
        ("run.devices", 0, "run.devices=0"),
        ("run.devices", [0, 1], None),
        ("run.clip_norm", float("nan"), "run.clip_norm=nan"),
        ("run.compile", "yes", "run.compile=yes: must be bool"),
        ("run.accelerator", "gpuu", "run.accelerator=gpuu"),
        ("run.step", 2, "did you mean 'run.steps'"),
        ("run", 3, "run=3"),
        ("optim.lr", "fast", "optim.lr=fast: must be float"),
        ("optim.betas", [0.9, 1.0], "optim.betas"),
        ("optim.betas", [0.9], "a list of 2"),
        ("optim.warmup_epochs", 1, "given together"),
        ("optim.warmup_steps", None, "optim.warmup_epochs or optim.warmup_steps or optim.warmup_share"),
        ("optim.warmup_steps", 0, None),
        ("probe.knn_k", 0, "probe.knn_k=0"),
        ("probe.on_alarm", "halt", "'warn' or 'stop' or 'ignore'"),
        ("probe.max_train", "???", "probe.max_train has no value yet"),
    ],
)
def test_one_change(toy: Path, key: str, value: object, said: str | None) -> None:
    config = changed(key, value)
    if said is None:
        validate(config)
    else:
        with pytest.raises(UserError) as caught:
            validate(config)
        assert said in str(caught.value)


def test_what_the_builder_supplies_can_be_said_for_each_group(toy: Path) -> None:
    validate(composed(), {"predictor": {"encoder", "grid"}})
    with pytest.raises(UserError, match=r"predictor\.grid is missing"):
        validate(composed(), {"predictor": {"encoder"}})


def test_settings_are_typed(toy: Path) -> None:
    run, optim, probe = settings(composed("preset=reference"))
    assert (run.epochs, run.batch_size) == (2, 4)
    assert optim.betas == (0.9, 0.95)
    assert probe == ProbeSettings()


def test_a_missing_package_inside_a_target_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: None
) -> None:
    (tmp_path / "modules" / "needsmore.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    with pytest.raises(UserError, match="needs the package 'not_installed_anywhere'"):
        locate("needsmore.Thing", "data")


def test_nested_names_are_found(parts: None) -> None:
    assert locate("collections.abc.Mapping.get", "x") is Mapping.get
    with pytest.raises(UserError, match="has no 'gett'"):
        locate("collections.abc.Mapping.gett", "x")
    assert not schema_of("toyparts.Loss", "x").parameters
    assert schema_of("toyparts.Blocks", "x").parameters["other"].annotation is Any


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (True, float, False),
        ("1", float, False),
        ("x", str, True),
        ("x", Path, True),
        (1, str, False),
        (None, int, False),
        (None, Optional[int], True),  # noqa: UP045 (the old notation is read too)
        (None, int | None, True),
        (1, bool, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (True, Literal[1], False),
        ([1, 2], tuple[int, int], True),
        ([1], tuple[int, int], False),
        ([1, 2, 3], tuple[int, ...], True),
        ([1, "x"], list[int], False),
        ([1], Sequence[float], True),
        ("text", Sequence[str], False),
        ([], list, True),
        ([1], tuple, True),
        (3, tuple[int, int] | int, True),
        ({"a": 1}, dict[str, int], True),
        ({"a": "x"}, Mapping[str, int], False),
        ({"_target_": "x"}, int, True),
        (object(), Any, True),
        (3, ProbeSettings, True),
    ],
)
def test_agreement_of_values_and_annotations(value: object, annotation: object, expected: bool) -> None:
    assert agrees(value, annotation) is expected
    assert name_of(annotation)
