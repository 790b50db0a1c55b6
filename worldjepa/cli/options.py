"""Which groups there are, and which options each group has: folders, and the YAML files in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

APART = ("bench",)
"""Folders whose files are no options of a configuration: the tasks and suites of `worldjepa bench`."""

_SIZES = {"tiny": "t", "small": "s", "base": "b", "large": "l", "huge": "h", "giant": "g"}
_TIMM_VIT = re.compile(rf"vit_({'|'.join(_SIZES)})(?:_patch(8|14|16))?(?:_\d+)?(?:\..*)?")


@dataclass(frozen=True)
class Library:
    """The folders that options come from: first the package's own, then the user's."""

    folders: tuple[Path, ...]

    def groups(self) -> dict[str, dict[str, Path]]:
        """Every group with its options: the name on the command line and the file that holds it."""
        found: dict[str, dict[str, Path]] = {}
        for folder in self.folders:
            for group in sorted(
                path
                for path in folder.iterdir()
                if path.is_dir() and not path.name.startswith((".", "_")) and path.name not in APART
            ):
                options = found.setdefault(group.name, {})
                for file in sorted(group.rglob("*.yaml")):
                    options.setdefault(file.relative_to(group).with_suffix("").as_posix(), file)
        return {group: options for group, options in found.items() if options}

    def stamp(self) -> int:
        """A number that is another one as soon as an option file is added, taken away or written to."""
        files = (file for folder in self.folders for file in sorted(folder.rglob("*.yaml")))
        return hash(tuple((file, state.st_mtime_ns, state.st_size) for file in files for state in (file.stat(),)))


def open_library(own: Path, config_dirs: Sequence[Path]) -> Library:
    """Collect the folders, the user's after the package's own.

    Raises:
        UserError: a folder is not there, is a file, or holds an option that another folder already has and that would
            therefore never be read.
    """
    folders = [own.resolve()]
    for given in config_dirs:
        if not given.exists():
            raise not_there("--config-dir", given)
        if not given.is_dir():
            raise UserError(
                f"--config-dir '{given}' is a file: give the folder that holds the groups (arch/, data/, ...)"
            )
        folder = given.resolve()
        if folder not in folders:
            _check_shadowed(folder, folders)
            folders.append(folder)
    return Library(tuple(folders))


def _check_shadowed(folder: Path, before: Sequence[Path]) -> None:
    for file in sorted(folder.rglob("*.yaml")):
        name = file.relative_to(folder)
        for earlier in before:
            if (earlier / name).exists():
                raise UserError(f"'{file}' would never be read: {earlier} has a {name} too; give yours another name")


def check_option(group: str, option: str, options: Sequence[str]) -> str:
    """Return the option's name as the folders have it; timm's long names of vision transformers are understood.

    Raises:
        UserError: the group has no such option.
    """
    if option in options:
        return option
    short = (short_name(option) if group == "arch" else None) or option
    if short in options:
        return short
    raise unknown(f"option of {group}", short, options)


def short_name(name: str) -> str | None:
    """The short name of a vision transformer: `vit_huge_patch14_224` and `vit_huge` are `vith14`; None for other names.

    Without a patch size it is the usual one: 14 for huge, 16 otherwise.
    """
    match = _TIMM_VIT.fullmatch(name)
    if match is None:
        return None
    size, patch = match.groups()
    return f"vit{_SIZES[size]}{patch or ('14' if size == 'huge' else '16')}"


def description(file: Path) -> str:
    """The first comment line of an option's file, without the `# @package` line; empty if there is none."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("#").strip()
        if text and not text.startswith("@package"):
            return text
    return ""
