"""`worldjepa train`: compose, check, run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worldjepa.cli.arguments import parse

if TYPE_CHECKING:
    from worldjepa.jepa import JEPA
    from worldjepa.visual.depiction import Depiction

HELP = """
usage: worldjepa train [key=value ...] [--config-dir DIR ...] [--cfg job [--resolve]]

Trains a model. Without any words it learns from the built-in patterns on a laptop's processor in minutes.

  worldjepa train                                   the quick start
  worldjepa train data.root=PHOTOS                  your own pictures, full-size model
  worldjepa train masks=random run.steps=500        another option of a group, another value of a key
  torchrun --nproc-per-node 8 -m worldjepa train run.devices=8 ...

GROUP=OPTION chooses an option (`worldjepa list` shows them all), KEY=VALUE sets a value (`worldjepa list keys`). A
parameter of a constructor that no file lists can be set just the same. run.batch_size counts samples per device.

  --config-dir DIR   more folders with options of your own (DIR/arch/mine.yaml becomes arch=mine); may be repeated
  --cfg job          print the configuration instead of training; --resolve fills in references between keys
"""


def run(words: Sequence[str]) -> int:
    """Train with the configuration that the words ask for. Nothing is written before all of it has been checked.

    Returns:
        The exit code.

    Raises:
        UserError: the words or the configuration hold a mistake.
    """
    arguments = parse(words, printing=True)
    if arguments.cfg:
        from worldjepa.cli.config import show

        return show(arguments)
    from worldjepa.cli.compose import compose_config
    from worldjepa.cli.validate import settings, validate

    composed = compose_config("train", arguments.words, arguments.config_dirs)
    validate(composed.config)
    run_settings, optim, probe = settings(composed.config)
    from worldjepa.train.run import train

    def depict() -> Depiction:
        from worldjepa.cli.depicting import depiction_of

        return depiction_of(composed.config, arguments.config_dirs)

    return train(composed.config, run_settings, optim, probe, composed.overrides, composed.notes, _weights, depict)


def _weights(path: str, model: JEPA) -> list[str]:
    """Weights from a checkpoint of any layout. The layouts are only imported when a run starts from one."""
    from worldjepa.interop.start import start_from

    return start_from(path, model)
