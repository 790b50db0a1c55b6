"""From words to an environment: a data option whose source is simulated, or gymnasium's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldjepa.errors import UserError, unknown
from worldjepa.world.record import GYM

if TYPE_CHECKING:
    from worldjepa.world.environment import Environment

GYM_KEYS = ("view", "key", "size")


def open_environment(
    name: str, words: Sequence[str], config_dirs: Sequence[Path]
) -> tuple[Environment, dict[str, Any]]:
    """The environment of `env=NAME` with its `env.KEY=VALUE` words, and what it was made with.

    Raises:
        UserError: there is none of this name, or a word is wrong.
    """
    if name.startswith(GYM):
        from worldjepa.world.goals import open_gym

        set_to = gym_settings(words)
        return open_gym(name.removeprefix(GYM), **set_to), {"env": name, **set_to}
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


def gym_settings(words: Sequence[str]) -> dict[str, Any]:
    """The keys of an environment of gymnasium.

    Raises:
        UserError: there is no such key, or a value is none.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        short = key.removeprefix("env.")
        if short not in GYM_KEYS:
            raise unknown("key", key, [f"env.{one}" for one in GYM_KEYS])
        found[short] = value
    if "size" in found:
        if not found["size"].isdecimal():
            raise UserError(f"env.size={found['size']}: must be a whole number")
        found["size"] = int(found["size"])
    return found


def as_data(word: str) -> str:
    """`env.KEY=VALUE` as the key of data that it is."""
    return word.replace("env.", "data.", 1)
