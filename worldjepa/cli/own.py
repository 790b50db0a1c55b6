"""The words that are a verb's own, as against those for the configuration; and what a verb does with `checkpoint=`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, suggest

if TYPE_CHECKING:
    from worldjepa.interop import Pretrained
    from worldjepa.interop.sizes import Ask

OPENING = ("checkpoint", "arch", "heads", "which", "allow")
"""The words that say which model."""


def sort(
    verb: str, words: Sequence[str], keys: Sequence[str], groups: Sequence[str] = (), needed: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Split words into a verb's own keys and those for the configuration.

    Args:
        verb: its name, for messages.
        words: what was given.
        keys: its own.
        groups: the groups of the configuration whose words it takes.
        needed: keys that must be given.

    Raises:
        UserError: a word is not understood, or one is missing.
    """
    own: dict[str, str] = {}
    passed: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in keys and equals:
            own[key] = value
        elif key.lstrip("+~").split(".")[0] in groups and equals:
            passed.append(word)
        else:
            raise not_understood(verb, word, (*keys, *groups))
    missing = [key for key in needed if not own.get(key)]
    if missing:
        raise UserError(f"{verb} needs {', '.join(f'{key}=...' for key in missing)}; see worldjepa {verb} --help")
    return own, passed


def not_understood(verb: str, word: str, keys: Sequence[str]) -> UserError:
    """The error for a word that is none of a verb's."""
    bare = word.lstrip("-").partition("=")[0]
    if "=" not in word and not word.startswith("-") and Path(word).exists():
        return UserError(f"options are written key=value, not '{word}' (did you mean 'checkpoint={word}'?)")
    if "=" not in word or word.startswith("-"):
        return UserError(f"options are written key=value, not '{word}'{suggest(bare, keys)}")
    return UserError(
        f"key '{bare}' is not one of {verb}'s{suggest(bare.split('.')[0], keys)}; allowed: {', '.join(keys)}"
    )


def whole(own: Mapping[str, str], key: str) -> int | None:
    """The value of a key as a whole number above 0.

    Raises:
        UserError: it is none.
    """
    value = own.get(key)
    if value is None:
        return None
    if not value.isdecimal() or not 0 < int(value) < 1 << 31:
        raise UserError(f"{key}={value}: must be a whole number, 1 or more")
    return int(value)


def number(own: Mapping[str, str], key: str, default: float) -> float:
    """The value of a key as a number.

    Raises:
        UserError: it is none.
    """
    try:
        return float(own.get(key, default))
    except ValueError as error:
        raise UserError(f"{key}={own[key]}: must be a number") from error


def natural(own: Mapping[str, str], key: str, default: int) -> int:
    """The value of a key as a whole number, 0 or more.

    Raises:
        UserError: it is none.
    """
    value = own.get(key, str(default))
    if not value.isdecimal() or int(value) >= 1 << 31:
        raise UserError(f"{key}={value}: must be a whole number, 0 or more")
    return int(value)


def ask(own: Mapping[str, str]) -> Ask:
    """What the words say about a file.

    Raises:
        UserError: a number is none.
    """
    from worldjepa.interop.sizes import Ask

    allow = [prefix for prefix in own.get("allow", "").split(",") if prefix]
    return Ask(own.get("arch"), whole(own, "heads"), own.get("which", "target_encoder"), allow)


def place(own: Mapping[str, str]) -> Path:
    """The path of `checkpoint=`.

    Raises:
        UserError: it is not there, or an address.
    """
    given = own["checkpoint"]
    path = Path(given).expanduser()
    if not path.exists() and "://" not in given:  # addresses are refused with their own words where files are opened
        raise not_there("checkpoint", path)
    return path


def opened(own: Mapping[str, str]) -> Pretrained:
    """Load the model of `checkpoint=`.

    Raises:
        UserError: see `worldjepa.load`.
    """
    place(own)
    asked = ask(own)
    from worldjepa.interop import load

    return load(own["checkpoint"], asked.arch, asked.heads, asked.which, asked.allow)
