"""Whether a configuration goes on with the run that a checkpoint belongs to, or is another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worldjepa.errors import UserError

GROUPS = ("seed", "modality", "data", "views", "arch", "masks", "predictor", "target", "objective", "levels", "optim")
"""What a run cannot change and stay the same run. `run` and `probe` say how it is carried out and watched."""

ELSEWHERE = ("data.root", "data.path", "data.cache", "data.max_bad_fraction")
"""Keys that say where the data lie or how they are watched; their fingerprint says which they are."""

ABSENT = "(absent)"


def flatten(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries and lists with their dotted keys."""
    if isinstance(tree, Mapping) and tree:
        for name, value in tree.items():
            yield from flatten(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, Sequence) and not isinstance(tree, str) and tree:
        for index, value in enumerate(tree):
            yield from flatten(value, f"{key}.{index}")
    else:
        yield key, tree


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys on which two configurations describe different runs, with the saved and the current value.

    A value that is repeated elsewhere under the same last name, as references make it, is named once, by its shortest key.
    """
    before, after = (
        {
            key: value
            for group in GROUPS
            if group in tree and not _is_nothing(group, tree[group])
            for key, value in flatten(tree[group], group)
            if key not in ELSEWHERE
        }
        for tree in (saved, current)
    )
    keys = sorted(before.keys() | after.keys(), key=lambda key: (key.count("."), key))
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys}
    found: dict[str, tuple[Any, Any]] = {}
    named: list[tuple[str, tuple[Any, Any]]] = []
    for key, pair in pairs.items():
        leaf = (key.rpartition(".")[2], pair)
        if pair[0] != pair[1] and leaf not in named:
            found[key] = pair
            named.append(leaf)
    return found


def _is_nothing(group: str, node: Any) -> bool:
    """Whether a group says what holds without it: runs from before there were levels, or views, are the same runs."""
    if group == "views":
        return str(node.get("_target_")).endswith(".Single")
    return group == "levels" and not node.get("above")


def check(path: object, saved: Mapping[str, Any], current: Mapping[str, Any], allowed: Sequence[str]) -> list[str]:
    """Refuse to go on from a checkpoint with another configuration.

    Args:
        path: the checkpoint, for the message.
        saved: `config`, the configuration, and further facts by name, as the checkpoint holds them.
        current: the same of this run.
        allowed: keys, or beginnings of keys up to a dot, that may differ.

    Returns:
        A line on every difference that is allowed.

    Raises:
        UserError: names every key with the saved and the current value.
    """
    found = differences(saved["config"], current["config"])
    for name, value in current.items():
        if name != "config" and saved.get(name, ABSENT) != value:
            found[name] = (saved.get(name, ABSENT), value)
    fine = {key: pair for key, pair in found.items() if any(f"{key}.".startswith(f"{one}.") for one in allowed)}
    wrong = {key: pair for key, pair in found.items() if key not in fine}
    if wrong:
        told = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in list(wrong.items())[:8])
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise UserError(
            f"checkpoint {path} belongs to another run: {told}{more}. Give the saved values, choose another run.out, start "
            f"from its weights with run.init_from=, or allow the difference with run.allow_mismatch=[{','.join(wrong)}]"
        )
    return [f"going on although {key} was {before} and is {now}" for key, (before, now) in fine.items()]
