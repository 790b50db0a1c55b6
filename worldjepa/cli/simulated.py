"""From words to an environment: a data option whose source is simulated, or gymnasium's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldjepa.errors import UserError

if TYPE_CHECKING:
    from worldjepa.world.environment import Environment

GYM = "gymnasium:"


def open_environment(
    name: str, words: Sequence[str], config_dirs: Sequence[Path]
) -> tuple[Environment, dict[str, Any]]:
    """The environment of `env=NAME` with its `env.KEY=VALUE` words, and what it was made with.

    Raises:
        UserError: there is none of this name, or a word is wrong.
    """
    if name.startswith(GYM):
        if words:
            raise UserError(f"{words[0]}: environments of gymnasium are named, not set; env={name} takes no keys")
        from worldjepa.world.gymnasium import GymEnvironment

        return GymEnvironment(name.removeprefix(GYM)), {"env": name}
    from omegaconf import OmegaConf

    from worldjepa.cli.compose import compose_config
    from worldjepa.cli.validate import validate
    from worldjepa.train.build import build_source
    from worldjepa.world.environment import Simulated

    config = compose_config("train", [f"data={name}", *map(as_data, words)], config_dirs).config
    validate(config)
    source = build_source(config)
    if not isinstance(source, Simulated):
        raise UserError(f"env={name}: these data are not simulated; env=rooms is, and so is env={GYM}NAME")
    made_with: Mapping[str, Any] = OmegaConf.to_container(config.data, resolve=True)  # type: ignore[assignment]
    environment = source.environment()
    return environment, {"env": name, **environment.settings(made_with)}


def as_data(word: str) -> str:
    """`env.KEY=VALUE` as the key of data that it is."""
    return word.replace("env.", "data.", 1)
