"""Joint-embedding predictive world models: the names that most programs need, each imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder, Tokenizer
    from worldjepa.interop import Pretrained, load, save
    from worldjepa.jepa import JEPA
    from worldjepa.types import Batch, Grid, Masks, Tokens

    __version__: str

__all__ = [
    "JEPA",
    "Batch",
    "Encoder",
    "Grid",
    "MaskSampler",
    "Masks",
    "Objective",
    "Predictor",
    "Pretrained",
    "TargetEncoder",
    "Tokenizer",
    "Tokens",
    "__version__",
    "load",
    "save",
]

# PyTorch takes seconds to import, and `worldjepa --help` or a data script may never need it.
_HOMES = {
    "types": ("Batch", "Grid", "Masks", "Tokens"),
    "interfaces": ("Encoder", "MaskSampler", "Objective", "Predictor", "TargetEncoder", "Tokenizer"),
    "interop": ("Pretrained", "load", "save"),
    "jepa": ("JEPA",),
}
_HOME_OF = {name: f"worldjepa.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name on first use.

    Raises:
        AttributeError: the package has no such name.
    """
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("worldjepa")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'worldjepa' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What the package offers, imported or not yet."""
    return sorted({*globals(), *__all__})
