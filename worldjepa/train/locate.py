"""What a dotted path names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType

from worldjepa.errors import UserError, suggest


def locate(target: str, where: str) -> Callable[..., object]:
    """Import what a `_target_` names.

    Args:
        target: a dotted path, `package.module.Class`.
        where: the dotted key of the node, for messages.

    Raises:
        UserError: no such module or attribute, it needs a package that is not installed, or it cannot be called.
    """
    place = f"{where}._target_={target}"
    found: object = None
    path = ""
    for part in target.split("."):
        before, path = path, f"{path}.{part}" if path else part
        if found is not None and hasattr(found, part):
            found = getattr(found, part)
        elif found is None or isinstance(found, ModuleType):
            found = _import(path, before, found, place)
        else:
            raise UserError(f"{place}: '{before}' has no '{part}'{suggest(part, _public(found))}")
    if not callable(found):
        raise UserError(f"{place}: this is not a class or function; a _target_ is written package.module.Class")
    return found


def _import(path: str, before: str, parent: ModuleType | None, place: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        part = path.rpartition(".")[2]
        if missing in (path, before):
            raise UserError(f"{place}: {_no_module(part, before, parent)}") from error
        raise UserError(
            f"{place}: {path} needs the package '{missing}', which is not installed; see `worldjepa doctor`"
        ) from error


def _no_module(part: str, before: str, parent: ModuleType | None) -> str:
    if parent is None:
        return f"there is no package '{part}'{suggest(part, ('worldjepa', 'modalities', 'torch'))}"
    return f"'{before}' has no '{part}'{suggest(part, _public(parent))}"


def _public(owner: object) -> Iterable[str]:
    names = {name for name in dir(owner) if not name.startswith("_")}
    if isinstance(owner, ModuleType) and hasattr(owner, "__path__"):
        names |= {module.name for module in pkgutil.iter_modules(owner.__path__) if not module.name.startswith("_")}
    return names
