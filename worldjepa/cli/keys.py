"""Dotted keys: which a configuration has, which it would accept, and which one a wrong one was meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from worldjepa.cli.schema import HYDRA_KEYS, SETTINGS, schema_of, settings_schema
from worldjepa.errors import UserError

Tree: TypeAlias = Mapping[str, Any]
"""A configuration as plain dicts and lists, references to other keys not filled in."""

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_ALIASES = {
    "max_steps": "run.steps",
    "num_steps": "run.steps",
    "max_epochs": "run.epochs",
    "num_epochs": "run.epochs",
    "batch": "run.batch_size",
    "batch_size": "run.batch_size",
    "num_workers": "run.workers",
    "gradient_clip_val": "run.clip_norm",
    "accumulate_grad_batches": "run.accumulate",
    "output_dir": "run.out",
    "output": "run.out",
    "learning_rate": "optim.lr",
    "wd": "optim.weight_decay",
    "data_dir": "data.root",
    "data_path": "data.root",
    "root": "data.root",
    "path": "data.root",
    "model": "arch",
    "dataset": "data",
}
"""What other programs call it. Consulted last part first, before spelling is compared."""


def flatten(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with its value, mappings before what they hold; lists count as values."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        yield key, value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{key}.")


def walk(tree: Tree, key: str) -> tuple[Any, str, list[str]]:
    """Follow a dotted key as far as the tree goes.

    Returns:
        The last node reached, its own dotted key, and the parts that are missing below it (none if the key exists).
    """
    node: Any = tree
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, Sequence) and not isinstance(node, str) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return node, ".".join(parts[:depth]), parts[depth:]
    return node, key, []


def origin(tree: Tree, key: str) -> str:
    """The key that a value really comes from: `key` itself, or where the references on the way to it lead."""
    for _ in range(8):  # longer than any sensible chain of references
        node, _where, missing = walk(tree, key)
        reference = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
        if reference is None:
            return key
        key = ".".join([reference[1], *missing])
    return key


def accepts(tree: Tree, key: str) -> bool:
    """Whether a key that is missing from the tree may be added: the constructor above it, or the settings, know it."""
    node, where, missing = walk(tree, key)
    if not missing:
        return False
    if not where:
        return missing[0] in SETTINGS and len(missing) == 2 and missing[1] in settings_schema(missing[0]).parameters
    return missing[0] in _children(node, where) or _is_open(node, where)


def _children(node: Any, where: str) -> set[str]:
    """The keys that a node has or would accept."""
    if not isinstance(node, Mapping):
        return set()
    names = set(node) - HYDRA_KEYS
    if where in SETTINGS:
        names |= set(settings_schema(where).parameters)
    elif "_target_" in node:
        names |= set(schema_of(node["_target_"], where).parameters)
    return names


def _is_open(node: Any, where: str) -> bool:
    return isinstance(node, Mapping) and "_target_" in node and schema_of(node["_target_"], where).open


def known(tree: Tree, constructors: bool = False) -> list[str]:
    """Every key that may be set: those of the tree and the settings, and on request those that constructors accept."""
    keys = [key for key, _ in flatten(tree) if key.rpartition(".")[2] not in HYDRA_KEYS]
    keys += [f"{group}.{name}" for group in SETTINGS for name in settings_schema(group).parameters]
    if constructors:
        for where, node in flatten(tree):
            if isinstance(node, Mapping) and "_target_" in node:
                keys += [f"{where}.{name}" for name in _importable_children(node, where)]
    return list(dict.fromkeys(keys))


def _importable_children(node: Tree, where: str) -> list[str]:
    try:
        return sorted(_children(node, where))
    except UserError:
        # Looking for a suggestion: a target that cannot be imported has none, and is not what the user asked about.
        return []


def nearest_keys(key: str, keys: Sequence[str]) -> list[str]:
    """The known keys that a wrong one was probably meant to be, best first: three at most.

    Names from other programs come first, then keys that end in what was written, then likeness of the last part.
    """
    last = key.rpartition(".")[2]
    if _ALIASES.get(last) in keys and key not in keys:
        return [_ALIASES[last]]
    endings = [name for name in keys if name == key or name.endswith(f".{key}")]
    if endings:
        return endings[:3]
    whole = difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
    if whole:
        return whole
    lasts = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in keys], n=1, cutoff=0.6)
    return [name for name in keys if lasts and name.rpartition(".")[2] == lasts[0]][:3]


def meant(key: str, tree: Tree) -> list[str]:
    """Like `nearest_keys`, for a configuration; constructors are only imported when its own keys offer nothing."""
    return nearest_keys(key, known(tree)) or nearest_keys(key, known(tree, constructors=True))


def unknown_child(where: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a key that the node at `where` does not take: names the nearest that it does, and all of them."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" (did you mean '{where}.{near[0]}'?)" if near else ""
    return UserError(f"key '{where}.{name}' is not known{hint}; {where} takes: {', '.join(names) or 'nothing'}")


def unknown_key(key: str, tree: Tree) -> UserError:
    """The error for a key that the configuration neither has nor accepts."""
    node, where, missing = walk(tree, key)
    keys = known(tree)
    deeper = [name for name in keys if name.startswith(f"{where}.") and name.endswith(f".{missing[-1]}")]
    if where and isinstance(node, Mapping) and not deeper and _ALIASES.get(missing[-1]) not in keys:
        return unknown_child(where, missing[0], _children(node, where))
    near = (deeper if where else []) or meant(key, tree)
    hint = " (did you mean " + " or ".join(f"'{name}'" for name in near) + "?)" if near else ""
    return UserError(f"key '{key}' is not known{hint}; `worldjepa list keys` shows every key")
