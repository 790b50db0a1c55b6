"""What a node of the configuration may hold: the parameters of the constructor that its `_target_` names."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from worldjepa.train.locate import locate
from worldjepa.train.settings import OptimSettings, ProbeSettings, RunSettings

__all__ = [
    "HYDRA_KEYS",
    "SETTINGS",
    "Parameter",
    "Schema",
    "callable_schema",
    "locate",
    "resolve",
    "schema_of",
    "settings_schema",
]

SETTINGS: Mapping[str, type] = {"run": RunSettings, "optim": OptimSettings, "probe": ProbeSettings}
"""The groups that belong to no constructor, with the dataclasses that describe them."""

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_"})
"""Keys that a node with `_target_` may hold beside the constructor's parameters."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor; `annotation` is Any where it cannot be resolved."""

    required: bool
    annotation: Any


@dataclasses.dataclass(frozen=True)
class Schema:
    """The parameters that a constructor takes; an `open` one takes any other keyword too."""

    parameters: Mapping[str, Parameter]
    open: bool = False


def schema_of(target: str, where: str) -> Schema:
    """The schema of a node whose `_target_` is `target`.

    Raises:
        UserError: the target cannot be imported; `where` is the dotted key that the message names.
    """
    return callable_schema(locate(target, where))


def settings_schema(group: str) -> Schema:
    """The schema of one of the groups in `SETTINGS`."""
    return callable_schema(SETTINGS[group])


def callable_schema(constructor: Callable[..., object]) -> Schema:
    """Read the parameters of a class or function. One without a readable signature takes anything."""
    try:
        signature = inspect.signature(constructor)
    except ValueError:  # some classes written in C have none
        return Schema({}, open=True)
    namespace = _namespace(constructor)
    parameters = {}
    takes_any = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            annotation = resolve(parameter.annotation, namespace)
            parameters[name] = Parameter(parameter.default is parameter.empty, annotation)
    return Schema(parameters, takes_any)


def resolve(annotation: object, namespace: Mapping[str, Any]) -> object:
    """The type that an annotation means, or Any where it is absent or names something unknown at run time."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=dict(namespace), include_extras=False)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        # Imported under TYPE_CHECKING only, or a notation of a third party's: left unchecked rather than refused.
        return Any


def _namespace(constructor: Callable[..., object]) -> Mapping[str, Any]:
    """The names that the annotations use: of the constructor's module, for a class that of the base with `__init__`."""
    owner: object = constructor
    if isinstance(constructor, type):
        owner = next((base for base in constructor.__mro__ if "__init__" in vars(base)), constructor)
        owner = constructor if owner is object else owner
    module = sys.modules.get(getattr(owner, "__module__", ""))
    return vars(module) if module else {}
