"""The models that `worldjepa bench run` measures: opened, named, and known by their modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from worldjepa.bench.subject import Subject
from worldjepa.cli.compose import config_folder
from worldjepa.cli.embedding import modality_of
from worldjepa.cli.options import open_library
from worldjepa.cli.own import place
from worldjepa.cli.usual import read_usual
from worldjepa.errors import UserError
from worldjepa.interop import Pretrained, load, runs
from worldjepa.interop.sizes import Ask
from worldjepa.train import checkpoint
from worldjepa.train.trusted import read_config


def open_subjects(given: Sequence[str], names: Sequence[str], ask: Ask, config_dirs: Sequence[Path]) -> list[Subject]:
    """Load the models.

    Raises:
        UserError: one cannot be loaded, its modality cannot be told, or two have the same name.
    """
    named = named_models(given, names)
    return [opened(one, name, ask, config_dirs) for one, name in zip(given, named, strict=True)]


def named_models(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """What each model is called.

    Raises:
        UserError: two have the same name, there are too many or too few, or one can be no folder.
    """
    if names and len(names) != len(given):
        raise UserError(f"name= gives {len(names)} names for {len(given)} checkpoints")
    named = list(names) or [name_of(place({"checkpoint": one})) for one in given]
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"two models would be called '{name}': give name=[A,B], a name for each checkpoint")
        if Path(name).name != name or name.startswith("."):
            raise UserError(f"name={name}: must be the name of a folder, without / and no leading dot")
    return named


def name_of(path: Path) -> str:
    """What a model is called unless the user says: as its run folder, with the step if one is chosen, or its file."""
    path = path.resolve()
    if path.name.startswith("step-") and path.parent.name == "checkpoints":
        return f"{path.parent.parent.name}-{path.name}"
    return path.name if path.is_dir() else path.name.partition(".")[0]


def opened(given: str, name: str, ask: Ask, config_dirs: Sequence[Path]) -> Subject:
    """Load a model."""
    path = place({"checkpoint": given})
    model = load(path, ask.arch, ask.heads, ask.which, ask.allow)
    data, method = None, None
    if runs.is_ours(path):
        folder = checkpoint.locate(path)
        config = cast(dict[str, Any], OmegaConf.to_container(read_config(folder), resolve=True))
        data, method = config.get("data"), _method_of(folder)
    return Subject(name, given, model, _modality(model, data, given, config_dirs), method, data)


def _method_of(folder: Path) -> str | None:
    """The option of the group `method` that a run chose, where its folder still tells."""
    file = folder.parent.parent / "overrides.json"
    if not file.is_file():
        return None
    words = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML
    chosen = [word.partition("=")[2] for word in words if isinstance(word, str) and word.startswith("method=")]
    defaults = yaml.safe_load((config_folder() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    usual = [one["method"] for one in defaults if isinstance(one, dict) and "method" in one]
    return str((chosen or usual)[-1])


def _modality(model: Pretrained, data: Mapping[str, Any] | None, given: str, config_dirs: Sequence[Path]) -> str:
    """The modality that a model's tokenizer belongs to, or the data that it was trained on."""
    of_tokenizer = modality_of(model, [], config_dirs)
    if of_tokenizer:
        return of_tokenizer[0].partition("=")[2]
    groups = open_library(config_folder(), config_dirs).groups()
    target = None if data is None else data.get("_target_")
    options = {
        name for name, file in groups["data"].items() if OmegaConf.select(OmegaConf.load(file), "_target_") == target
    }
    for modality, usual in read_usual(groups["modality"]).items():
        if target is not None and options & {*usual.embedded, *usual.own}:
            return modality
    raise UserError(f"{given}: its modality cannot be told, neither by its tokenizer nor by the data of its training")
