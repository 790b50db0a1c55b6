"""Reports on disk: whole files, and generated sections within files that people write."""

from __future__ import annotations

import os
import re
from pathlib import Path

from worldjepa.errors import Unsaved, UserError, suggest


def write(file: Path, text: str) -> None:
    """Write a file so that it is never seen half-written.

    Raises:
        Unsaved: the disk does not take it.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(file)
    except OSError as error:
        raise Unsaved(f"{file} could not be written: {error.strerror or error}") from error


def replaced(file: Path, kind: str, name: str, text: str) -> str:
    """A file's text with a new generated section, which stands between `<!-- KIND:NAME -->` and `<!-- /KIND:NAME -->`.

    Raises:
        UserError: the file cannot be read, or does not have both marks once, in this order.
    """
    try:
        whole = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    first, last = f"<!-- {kind}:{name} -->", f"<!-- /{kind}:{name} -->"
    if whole.count(first) != 1 or whole.count(last) != 1 or whole.index(first) > whole.index(last):
        names = re.findall(rf"<!-- {kind}:(\S+) -->", whole)
        there = f"{suggest(name, names)}; it has marks for: {', '.join(names) or 'nothing'}"
        raise UserError(f"{file} needs the lines {first} and {last}, once and in this order{there}")
    before, after = whole[: whole.index(first) + len(first)], whole[whole.index(last) :]
    return f"{before}\n\n{text.strip()}\n\n{after}"
