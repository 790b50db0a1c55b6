"""`worldjepa list`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldjepa.cli.arguments import parse
from worldjepa.errors import UserError, unknown

if TYPE_CHECKING:
    from rich.table import Table

HELP = """
usage: worldjepa list [GROUP | keys] [--config-dir DIR ...]

  worldjepa list        every group with its options
  worldjepa list arch   the options of one group
  worldjepa list keys   every key of the default configuration with its value

  --config-dir DIR   more folders with options of your own; may be repeated
"""


def run(words: Sequence[str]) -> int:
    """Print the groups and options, or the keys.

    Returns:
        The exit code.

    Raises:
        UserError: there is no such group.
    """
    arguments = parse(words)
    if len(arguments.words) > 1:
        raise UserError(f"list takes one name at most, not {len(arguments.words)}: worldjepa list [GROUP | keys]")
    name = arguments.words[0] if arguments.words else None
    if name == "keys":
        _print(_keys(arguments.config_dirs))
    else:
        _print(_options(name, arguments.config_dirs))
    return 0


def _options(name: str | None, config_dirs: Sequence[Path]) -> Table:
    from rich.table import Table

    from worldjepa.cli.compose import config_folder
    from worldjepa.cli.options import description, open_library

    groups = open_library(config_folder(), config_dirs).groups()
    if name is not None and name not in groups:
        raise unknown("group", name, [*groups, "keys"])
    table = Table("group", "option", "what it is", box=None, pad_edge=False)
    for group, options in groups.items():
        if name in (None, group):
            for index, (option, file) in enumerate(options.items()):
                table.add_row("" if index else group, option, description(file))
    return table


def _keys(config_dirs: Sequence[Path]) -> Table:
    from omegaconf import OmegaConf
    from rich.table import Table

    from worldjepa.cli.compose import compose_config
    from worldjepa.cli.keys import flatten

    tree: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        compose_config("train", [], config_dirs).config, resolve=False
    )
    table = Table("key", "value", box=None, pad_edge=False)
    for key, value in flatten(tree):
        if not isinstance(value, Mapping):
            table.add_row(key, "null" if value is None else str(value))
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"
    # Text in brackets, such as [0.9, 0.999], is data here and not rich's markup.
    Console(markup=False, highlight=False).print(table)
