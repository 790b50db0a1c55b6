"""What a run of a modality chooses unless it is told otherwise: the node `usual` in the modality's option file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from worldjepa.errors import UserError, unknown

KEY = "usual"


@dataclass(frozen=True)
class Usual:
    """The choices that come with a modality."""

    method: str | None = None
    """The method."""
    preset: str | None = None
    """The preset for the data that come with the package: minutes on a laptop."""
    own_preset: str | None = None
    """The preset for data that the user brings."""
    embedded: tuple[str, ...] = ()
    """The options of `data` that come with the package."""
    own: tuple[str, ...] = ()
    """The options of `data` that read what the user brings; the first that takes the keys given is chosen."""
    methods: tuple[str, ...] = ()
    """The methods that are for this modality alone, and the only ones that it takes; none where it takes what others take."""
    also: tuple[str, ...] = ()
    """The methods that are for this modality alone, beside those that it takes like others."""
    depiction: str | None = None
    """The class that makes pictures of its observations, `package.module.Class`: a `worldjepa.visual.depiction.Depiction`."""


def read_usual(files: Mapping[str, Path]) -> dict[str, Usual]:
    """The choices of every modality.

    Args:
        files: the option file of each modality.

    Raises:
        UserError: a file's node holds something else.
    """
    return {name: _read(file) for name, file in files.items()}


def _read(file: Path) -> Usual:
    import yaml  # type: ignore[import-untyped]

    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return Usual()  # composing it says what is wrong, with the line
    node = content.get(KEY) if isinstance(content, Mapping) else None
    if node is None:
        return Usual()
    if not isinstance(node, Mapping):
        raise UserError(f"{file}: '{KEY}' must hold `key: value` lines")
    names = [field.name for field in fields(Usual)]
    for name, value in node.items():
        if name not in names:
            raise unknown(f"key of '{KEY}' in {file}", str(name), names)
        listed = name in ("embedded", "own", "methods", "also")
        if listed != isinstance(value, list) or not all(isinstance(one, str) for one in (value if listed else [value])):
            raise UserError(f"{file}: {KEY}.{name} must be {'a list of names' if listed else 'a name'}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in node.items()}
    return Usual(**values)
