"""How observations were seen in training: those keys of `data` that the node `modality.view` names, such as a size.

Whoever shows a trained model other data wants them seen the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worldjepa.errors import UserError

KEY = "view"
View = dict[str, str | int | float | bool | None]
"""By the name of the key below `data`."""

_MOST = 32
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def named(config: Mapping[str, Any]) -> list[str]:
    """The names of the keys that a configuration's modality lists."""
    modality = config.get("modality")
    names = modality.get(KEY) if isinstance(modality, Mapping) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def of_config(config: Mapping[str, Any]) -> View:
    """The view of a plain, resolved configuration: the keys that its modality names and its data have."""
    data = config.get("data")
    given = data if isinstance(data, Mapping) else {}
    return {name: given[name] for name in named(config) if name in given and _plain(given[name])}


def of_file(view: object, where: str) -> View:
    """The view that a file tells of.

    Raises:
        UserError: it is none, as those that we write are.
    """
    if view is None:
        return {}
    if (
        not isinstance(view, Mapping)
        or len(view) > _MOST
        or not all(isinstance(name, str) and _NAME.fullmatch(name) and _plain(value) for name, value in view.items())
    ):
        raise UserError(f"{where}: 'view' in its config.json must hold plain values by the names of keys")
    return dict(view)


def words(view: View, given: set[str]) -> list[str]:
    """The view as words for the command line, without the keys that are given already."""
    return [
        f"data.{name}={'null' if value is None else value}"
        for name, value in view.items()
        if f"data.{name}" not in given
    ]


def _plain(value: object) -> bool:
    """Whether a value is a number, null or one word; anything else could be more than it looks."""
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and bool(_WORD.fullmatch(value)))
