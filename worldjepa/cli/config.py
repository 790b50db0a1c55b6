"""`worldjepa config`: print the configuration that a run would use."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from worldjepa.cli.arguments import Arguments, parse
from worldjepa.errors import UserError

HELP = """
usage: worldjepa config [key=value ...] [--config-dir DIR ...] [--resolve]

Prints the configuration that `worldjepa train` with the same words would use, as YAML.

  --config-dir DIR   more folders with options of your own; may be repeated
  --resolve          fill in references between keys; every key must have its value
"""


def run(words: Sequence[str]) -> int:
    """Print the configuration that the words ask for.

    Returns:
        The exit code.

    Raises:
        UserError: the words or the configuration hold a mistake, or `--resolve` meets a key that has no value yet.
    """
    return show(parse(words, printing=True))


def show(arguments: Arguments) -> int:
    """Print the composed configuration on stdout, and the choices made for the user on stderr."""
    from omegaconf import OmegaConf

    from worldjepa.cli.compose import check_references, compose_config

    composed = compose_config("train", arguments.words, arguments.config_dirs)
    if arguments.resolve:
        waiting = sorted(OmegaConf.missing_keys(composed.config))
        if waiting:
            wanted = " ".join(f"{key}=VALUE" for key in waiting)
            raise UserError(
                f"{', '.join(waiting)} {'has' if len(waiting) == 1 else 'have'} no value yet: give {wanted}"
            )
        check_references(composed.config)
    for note in composed.notes:
        print(f"note: {note}", file=sys.stderr)
    print(OmegaConf.to_yaml(composed.config, resolve=arguments.resolve), end="")
    return 0
