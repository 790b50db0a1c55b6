"""Whether a value from a configuration file agrees with the annotation of the parameter that it is meant for."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

_LISTS: tuple[object, ...] = (
    list,
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    set,
    frozenset,
)


def agrees(value: Any, annotation: Any) -> bool:
    """Whether a YAML value can be meant for a parameter with this annotation.

    Checked are numbers, text, truth values, Literal, None, unions, and lists and mappings of those. Everything else,
    nodes with a `_target_` of their own included, is left to the constructor.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(agrees(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin is typing.Annotated:
        return agrees(value, inner[0])
    if annotation is tuple or origin is tuple:
        return _agrees_tuple(value, inner)
    if annotation in _LISTS or origin in _LISTS:
        return isinstance(value, list) and (not inner or all(agrees(one, inner[0]) for one in value))
    if annotation is dict or origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping) and (not inner or all(agrees(one, inner[1]) for one in value.values()))
    return _agrees_plain(value, annotation)


def _agrees_tuple(value: Any, inner: tuple[Any, ...]) -> bool:
    if not isinstance(value, list):
        return False
    if not inner:
        return True
    if inner[-1] is Ellipsis:
        return all(agrees(one, inner[0]) for one in value)
    return len(value) == len(inner) and all(agrees(one, kind) for one, kind in zip(value, inner, strict=True))


def _agrees_plain(value: Any, annotation: Any) -> bool:
    if annotation is None or annotation is types.NoneType:
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (str, Path):
        return isinstance(value, str)
    return True


def name_of(annotation: Any) -> str:
    """How to call an annotation in a message: `int`, `float | None`, `'warn' | 'ignore'`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(name_of(one) for one in inner)
    if origin is Literal:
        return " or ".join(repr(one) for one in inner)
    if annotation is types.NoneType:
        return "null"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)} ({', '.join(name_of(one) for one in inner)})"
    if origin is tuple or origin in _LISTS:
        return f"a list of {name_of(inner[0])}"
    return getattr(annotation, "__name__", str(annotation))
