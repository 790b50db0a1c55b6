"""What a run was: its parts, its configuration, and what it ran on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from worldjepa.report.curves import Runs
from worldjepa.report.folder import Run
from worldjepa.report.page import Fold, Part
from worldjepa.report.table import Cell, Code, Column, Table, Verbatim, Words
from worldjepa.report.text import cut, shown

_PARTS = (
    ("data", "data"),
    ("encoder", "arch.encoder"),
    ("predictor", "predictor"),
    ("masks", "masks"),
    ("target", "target"),
    ("objective", "objective"),
)
_SIZES = ("depth", "dim", "heads")
MOST_TEXT = 100_000
"""Letters of a configuration that are shown."""
MOST_ROWS = 200
_PLACES = ("run.out", "run.resume")
"""Keys in which runs must differ."""


def what(run: Run) -> str:
    """What was trained on what, in a sentence; empty if the configuration does not say."""
    found = {name: _class(run.config, key) for name, key in _PARTS}
    sizes = [
        f"{key} {shown(value, 20)}" for key in _SIZES if (value := run.config.get(f"arch.encoder.{key}")) is not None
    ]
    found["encoder"] += f" ({', '.join(sizes)})" if sizes and found["encoder"] else ""
    parts = [
        f"{name} {found[key]}"
        for name, key in (("", "encoder"), ("predictor", "predictor"), ("masks", "masks"), ("target", "target"))
        if found[key]
    ]
    terms = [_class(run.config, f"objective.parts.{index}") for index in range(8)]
    objective = " + ".join(filter(None, terms)) or found["objective"]
    parts += [f"objective {objective}"] if objective else []
    parts += [f"trained on {found['data']}"] if found["data"] else []
    return f"{', '.join(part.strip() for part in parts)}." if parts else ""


def _class(config: Mapping[str, object], key: str) -> str:
    return cut(str(config.get(f"{key}._target_", "")).rpartition(".")[2])


def command(run: Run) -> str | None:
    """The command that the run was started with."""
    words = run.environment.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) and words else None


def setup(run: Run) -> list[Part]:
    """Command, what was asked for, configuration and environment of a run."""
    parts: list[Part] = []
    started = command(run)
    if started:
        parts.append(_values("Started with", [("command", Code(cut(started, 2_000)))]))
    if run.overrides:
        words = [word.lstrip("+").partition("=") for word in run.overrides[:MOST_ROWS]]
        title = "Asked for beyond the preset"
        parts.append(_values(title, [(cut(key), Code(cut(value, 400))) for key, _, value in words]))
    if run.config_text:
        parts.append(Fold("Configuration", _configuration(run)))
    environment = [(key, value) for key, value in run.environment.items() if key not in ("command", "overrides")]
    if environment:
        rows = [(cut(key), Code(shown(value))) for key, value in environment[:MOST_ROWS]]
        parts.append(Fold("Environment", [_values("What it ran on", rows)]))
    return parts


def _configuration(run: Run) -> list[Part]:
    parts: list[Part] = [Verbatim("config.yaml", run.config_text[:MOST_TEXT])]
    if len(run.config_text) > MOST_TEXT:
        parts.append(Words(f"These are the first {MOST_TEXT:,} of {len(run.config_text):,} letters.", warning=True))
    return parts


def _values(title: str, rows: Iterable[tuple[Cell, Cell]]) -> Table:
    return Table(title, (Column("key", False), Column("value", False)), list(rows))


def differences(runs: Runs) -> list[Part]:
    """The keys of the configurations in which runs differ, each once."""
    trees = {label: run.config for label, run in runs.items()}
    keys = dict.fromkeys(key for tree in trees.values() for key in tree if key not in _PLACES)
    values = {key: tuple(_said(tree, key) for tree in trees.values()) for key in keys}
    differing = _once({key: said for key, said in values.items() if len(set(said)) > 1})
    if not differing:
        return [Words("The configurations are the same, but for the folder.")]
    columns = (Column("key", False), *(Column(cut(label), False) for label in runs))
    rows: list[list[Cell]] = [[cut(key), *map(Code, values[key])] for key in differing[:MOST_ROWS]]
    parts: list[Part] = [Table("What differs", columns, rows)]
    if len(differing) > MOST_ROWS:
        parts.append(Words(f"{len(differing) - MOST_ROWS:,} more keys differ.", warning=True))
    return parts


def _once(differing: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The keys without repetitions: what references make equal under the same last name counts by its shortest key."""
    kept: dict[tuple[str, tuple[str, ...]], str] = {}
    for key, values in differing.items():
        same = (key.rpartition(".")[2], values)
        if same not in kept or key.count(".") < kept[same].count("."):
            kept[same] = key
    return [key for key in differing if key in set(kept.values())]


def _said(tree: Mapping[str, object], key: str) -> str:
    return shown(tree[key]) if key in tree else "(absent)"
