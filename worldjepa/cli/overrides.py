"""Reads the `key=value` words of a command line with Hydra's own grammar, and explains what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worldjepa.cli.keys import Tree, meant
from worldjepa.errors import UserError


@dataclass(frozen=True)
class Override:
    """One word of the command line."""

    key: str
    """A dotted key, or the name of a group."""
    text: str
    """The value as written; empty for a deletion without one."""
    value: object
    """The value as Hydra reads it."""
    delete: bool = False

    def written(self, prefix: str = "") -> str:
        """The override as a word for Hydra; `prefix` is `+` to add a key."""
        if self.delete:
            return f"~{self.key}" + (f"={self.text}" if self.text else "")
        return f"{prefix}{self.key}={self.text}"


@dataclass(frozen=True)
class Context:
    """What explanations draw on; the default configuration is composed only when one is needed."""

    groups: Mapping[str, Mapping[str, object]]
    tree: Callable[[], Tree]


def read(words: Sequence[str], context: Context) -> list[Override]:
    """Parse the words.

    Raises:
        UserError: a word is not of the form key=value, or its value does not follow the grammar.
    """
    return [_read_word(words, index, context) for index in range(len(words))]


def _read_word(words: Sequence[str], index: int, context: Context) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    word = words[index]
    if word.startswith("-"):
        raise _dashed(words, index, context)
    if "=" not in word and not word.startswith("~"):
        raise _bare(word, context)
    text = word.partition("=")[2]
    try:
        parsed = OverridesParser.create().parse_overrides([word])[0]
        sweep = parsed.is_sweep_override()
        value = None if sweep else parsed.value()
    except (HydraException, ValueError) as error:
        raise _ungrammatical(word, str(error)) from error
    key = parsed.key_or_group
    if sweep:
        raise UserError(
            f"'{word}' gives several values, and sweeps are not supported yet: use a shell loop; "
            f"a list is written {key}=[{text}]"
        )
    if not isinstance(key, str) or not key or parsed.package is not None:
        raise UserError(f"'{word}' is not of the form key=value")
    _check_not_hydra(key)
    return Override(key, text, value, parsed.is_delete())


def _check_not_hydra(key: str) -> None:
    if key == "hydra.searchpath":
        raise UserError("folders with your own options are given with --config-dir DIR, not with hydra.searchpath")
    if key.split(".")[0].split("/")[0] == "hydra":
        raise UserError(f"'{key}' has no effect here: the run folder is run.out=DIR, and the log is part of it")


def _dashed(words: Sequence[str], index: int, context: Context) -> UserError:
    word = words[index]
    key, _, value = word.lstrip("-").replace("-", "_").partition("=")
    value = word.partition("=")[2]
    if (
        "=" not in word
        and index + 1 < len(words)
        and "=" not in words[index + 1]
        and not words[index + 1].startswith("--")
    ):
        value = words[index + 1]
    return UserError(f"options are written key=value, not '{word}'{_examples(key, value or 'VALUE', context)}")


def _bare(word: str, context: Context) -> UserError:
    owners = [group for group, options in context.groups.items() if word in options]
    if owners:
        hint = " (did you mean " + " or ".join(f"'{group}={word}'" for group in owners) + "?)"
    else:
        hint = _examples(word, "VALUE", context)
    return UserError(f"options are written key=value, not '{word}'{hint}")


def _examples(key: str, value: str, context: Context) -> str:
    near = meant(key, context.tree()) if key else []
    return " (did you mean " + " or ".join(f"'{name}={value}'" for name in near) + "?)" if near else ""


def _ungrammatical(word: str, reason: str) -> UserError:
    key, _, text = word.partition("=")
    first = reason.splitlines()[0] if reason else "it does not follow the grammar"
    quoted = text.replace("'", r"\'")
    return UserError(
        f"cannot read '{word}' ({first}); text with special characters needs quotes inside the shell's: "
        f"\"{key}='{quoted}'\""
    )
