"""Reads tasks and suites from their files of YAML; every mistake names file and key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from worldjepa.bench.jobs import check_probes
from worldjepa.bench.tasks import FACTORED, PROBES, Most, Suite, Task
from worldjepa.cli.agree import agrees, name_of
from worldjepa.cli.compose import config_folder
from worldjepa.cli.options import description, open_library
from worldjepa.errors import UserError, unknown
from worldjepa.evaluate.supervised import Budget

FOLDER = "bench"
_T = TypeVar("_T")


def read_tasks(config_dirs: Sequence[Path]) -> dict[str, Task]:
    """All tasks by name.

    Raises:
        UserError: a file has a mistake.
    """
    return {name: _task(name, file) for name, file in _files("task", config_dirs).items()}


def read_suites(config_dirs: Sequence[Path]) -> dict[str, Suite]:
    """All suites by name.

    Raises:
        UserError: a file has a mistake.
    """
    return {name: _suite(name, file) for name, file in _files("suite", config_dirs).items()}


def _files(kind: str, config_dirs: Sequence[Path]) -> dict[str, Path]:
    folders = open_library(config_folder(), config_dirs).folders
    return {file.stem: file for folder in folders for file in sorted((folder / FOLDER / kind).glob("*.yaml"))}


def _task(name: str, file: Path) -> Task:
    made = _made(Task, {**_content(file), "name": name, "about": description(file)}, str(file))
    if made.metric not in PROBES:
        raise unknown(f"metric in {file}", made.metric, PROBES)
    if (made.factor is None) == (made.metric in FACTORED):
        raise UserError(f"{file}: metric {' and '.join(FACTORED)} ask for a factor, and no other does")
    usual = tuple(one for one in PROBES[made.metric] if one != "finetune")
    task = made if made.probes else _replaced(made, probes=usual)
    check_probes(task)
    return task


def _suite(name: str, file: Path) -> Suite:
    content = _content(file)
    content["most"] = _made(Most, content.get("most") or {}, f"{file}: most")
    if content.get("supervised") is not None:
        content["supervised"] = _made(Budget, content["supervised"], f"{file}: supervised")
    suite = _made(Suite, {**content, "name": name, "about": description(file)}, str(file))
    if not 0 < suite.share <= 1:
        raise UserError(f"{file}: share must be above 0 and at most 1: {suite.share}")
    return suite


def _replaced(task: Task, **changes: Any) -> Task:
    return Task(**{**vars(task), **changes})


def _content(file: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold `key: value` lines")
    return content


def _made(kind: Callable[..., _T], values: Mapping[str, Any], where: str) -> _T:
    """An object from the keys of a file, their names and types checked against its fields."""
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"key in {where}", str(key), hints)
        if not isinstance(value, tuple) and not agrees(value, hints[key]):
            raise UserError(f"{where}: {key}={value} must be {name_of(hints[key])}")
    fixed = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return kind(**fixed)
    except TypeError as error:  # a key without which there is no such object
        raise UserError(f"{where}: {str(error).partition('__init__() ')[2] or error}") from error
