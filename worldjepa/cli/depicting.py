"""How the observations of a configuration are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from worldjepa.cli.compose import config_folder
from worldjepa.cli.options import open_library
from worldjepa.cli.usual import read_usual
from worldjepa.errors import UserError
from worldjepa.train.locate import locate
from worldjepa.visual.depiction import Depiction


def depiction_of(config: DictConfig, config_dirs: Sequence[Path]) -> Depiction:
    """How the modality of a configuration is drawn: what the option file says that has the same tokenizer.

    A composed configuration does not say which option it was made from.

    Raises:
        UserError: no option has it, or it names no depiction.
    """
    files = open_library(config_folder(), config_dirs).groups().get("modality", {})
    tokenizer = _tokenizer(OmegaConf.to_container(config.modality, resolve=False))
    for name, usual in read_usual(files).items():
        if _tokenizer(OmegaConf.to_container(OmegaConf.load(files[name]), resolve=False)) != tokenizer:
            continue
        if usual.depiction is None:
            raise UserError(f"modality={name} does not say how it is drawn: its file needs usual.depiction")
        made = locate(usual.depiction, f"modality={name}: usual.depiction")()
        if not isinstance(made, Depiction):
            raise UserError(f"{usual.depiction} is not a Depiction (worldjepa.visual.depiction.Depiction)")
        return made
    raise UserError(
        f"no option of modality has the tokenizer {tokenizer}, so nothing says how its observations are drawn"
    )


def _tokenizer(node: object) -> object:
    tokenizer = node.get("tokenizer") if isinstance(node, Mapping) else None
    return tokenizer.get("_target_") if isinstance(tokenizer, Mapping) else None
