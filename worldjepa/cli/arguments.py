"""The few options with dashes. Everything else on the command line is `key=value` and belongs to the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worldjepa.errors import UserError


@dataclass
class Arguments:
    """A command line, sorted: the words for the configuration and what the dashed options said."""

    words: list[str] = field(default_factory=list)
    """Everything that is not a dashed option of the verb, untouched and in order."""
    config_dirs: list[Path] = field(default_factory=list)
    cfg: bool = False
    """Print the composed configuration instead of running."""
    resolve: bool = False
    """Print it with all references to other keys filled in."""


def parse(words: Sequence[str], printing: bool = False) -> Arguments:
    """Sort the words of a command line.

    Args:
        words: what follows the verb.
        printing: whether the verb knows `--cfg job` and `--resolve`.

    Raises:
        UserError: an option lacks its value, or asks for what is not supported.
    """
    result = Arguments()
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag == "--config-dir":
            result.config_dirs.append(Path(value if equals else _next(left, flag, "DIR")).expanduser())
        elif flag in ("-m", "--multirun"):
            raise UserError(
                "sweeps (--multirun) are not supported yet: use a shell loop, one `worldjepa train` per setting"
            )
        elif printing and flag in ("--cfg", "-c"):
            result.cfg = _only_job(value if equals else _next(left, flag, "job"))
        elif printing and word == "--resolve":
            result.resolve = True
        else:
            result.words.append(word)
    return result


def _next(left: Iterator[str], flag: str, what: str) -> str:
    value = next(left, None)
    if value is None:
        raise UserError(f"{flag} needs a value: {flag} {what}")
    return value


def _only_job(value: str) -> bool:
    if value != "job":
        raise UserError(f"--cfg shows one thing only, the job's configuration: write --cfg job (not '{value}')")
    return True
