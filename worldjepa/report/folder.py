"""What is in a run folder, whatever is left of it: nothing that is missing or damaged is an error, all of it is named."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from worldjepa.report.log import LAST_STEP, Log, drawable, json_lines, parsed, read_log

Scores = dict[str, float]
"""Numbers by metric name."""

SIGNS = ("config.yaml", "metrics.jsonl", "environment.json")
"""A folder with one of these is a run's."""

MOST_BYTES = 4 << 20
"""Of a JSON or YAML file; ours have a few thousand."""
MOST_KEYS = 5_000
"""Of a configuration."""


class Event(NamedTuple):
    """Something that happened besides steps."""

    step: int
    time: str
    kind: str
    what: str


class Bad(NamedTuple):
    """A sample that could not be used."""

    name: str
    kind: str
    reason: str


@final
@dataclass(frozen=True)
class Run:
    """A run folder as it was found.

    Args:
        path: where it is.
        config_text: its `config.yaml`.
        config: the same as values by dotted key.
        overrides: what was asked for on the command line.
        environment: versions, hardware, command and commit by dotted key.
        log: the curves.
        baselines: the scores of chance, raw input and the untrained encoder.
        result: what stands in `report.json`: `steps`, `trained_seconds` and the scores; None if there is none.
        events: in the order in which they happened.
        bad: samples that could not be used.
        notes: what is missing or damaged.
    """

    path: Path
    config_text: str
    config: Mapping[str, object]
    overrides: Sequence[str]
    environment: Mapping[str, object]
    log: Log
    baselines: Mapping[str, Scores]
    result: Mapping[str, Any] | None
    events: Sequence[Event]
    bad: Sequence[Bad]
    notes: Sequence[str]

    @property
    def trained(self) -> Scores:
        """The newest finite number of everything that was logged or reported; before the first step nothing is trained."""
        reported = scores_of(self.result["trained"]) if self.result is not None and self.finished else {}
        return self.log.last() | {name: value for name, value in reported.items() if math.isfinite(value)}

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, and has not been taken further since."""
        return self.result is not None and self.result["steps"] >= self.log.step

    @property
    def untrained(self) -> Scores:
        """The scores of the untrained encoder."""
        return self.baselines.get("untrained encoder", {})


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return any((folder / name).exists() for name in SIGNS)


def read_run(folder: Path) -> Run:
    """Read a run folder."""
    notes: list[str] = []
    text = _text(folder / "config.yaml", notes) or ""
    return Run(
        path=folder,
        config_text=text,
        config=_config(text, notes),
        overrides=_words(folder / "overrides.json", notes),
        environment=dict(itertools.islice(flatten(_json(folder / "environment.json", notes) or {}), MOST_KEYS)),
        log=_log(folder / "metrics.jsonl", notes),
        baselines=_baselines(folder / "baselines.json", notes),
        result=_result(folder / "report.json", notes),
        events=list(_events(folder / "events.jsonl", notes)),
        bad=list(_bad(folder / "quarantine.jsonl", notes)),
        notes=notes,
    )


def flatten(tree: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """The leaves of nested dictionaries and lists with their dotted keys; what is nested deeper than 32 is a leaf."""
    if depth < 32 and isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from flatten(value, f"{key}.{name}" if key else str(name), depth + 1)
    elif depth < 32 and isinstance(tree, list) and any(isinstance(one, dict | list) for one in tree):
        for index, value in enumerate(tree):
            yield from flatten(value, f"{key}.{index}", depth + 1)
    else:
        yield key, tree


def scores_of(tree: object) -> Scores:
    """The numbers of an object that can be shown."""
    if not isinstance(tree, dict):
        return {}
    return {
        str(name): drawable(value)
        for name, value in tree.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _text(file: Path, notes: list[str], needed: bool = True) -> str | None:
    """The text of a file, or None and a note."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        if needed:
            notes.append(f"{file.name} is missing")
        return None
    except OSError as error:
        notes.append(f"{file.name} cannot be read: {error.strerror or error}")
        return None
    if len(data) > MOST_BYTES:
        notes.append(f"{file.name} has more than {MOST_BYTES:,} bytes and is left out")
        return None
    return data.decode("utf-8", "replace")


def _json(file: Path, notes: list[str], needed: bool = True) -> object:
    text = _text(file, notes, needed)
    if text is None:
        return None
    try:
        return parsed(text)
    except ValueError as error:
        notes.append(f"{file.name} is damaged: {error}")
        return None


def _config(text: str, notes: list[str]) -> Mapping[str, object]:
    """The values of a configuration by dotted key."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # LibYAML is ten times as fast, where it is installed
    try:
        # Ours hold no references of YAML's own kind, with which a kilobyte can unfold to more than there is memory.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, loader)):
            notes.append("config.yaml holds YAML aliases and is only shown as it is")
            return {}
        tree = yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        notes.append(f"config.yaml is damaged: {' '.join(str(error).split())}")
        return {}
    if tree is not None and not isinstance(tree, dict):
        notes.append("config.yaml holds no keys")
        return {}
    return dict(itertools.islice(flatten(tree or {}), MOST_KEYS))


def _words(file: Path, notes: list[str]) -> list[str]:
    found = _json(file, notes)
    return [str(word) for word in found] if isinstance(found, list) else []


def _log(file: Path, notes: list[str]) -> Log:
    try:
        log = read_log(file)
    except FileNotFoundError:
        notes.append(f"{file.name} is missing: there are no curves")
        return Log({}, 0)
    except OSError as error:
        notes.append(f"{file.name} cannot be read: {error.strerror or error}")
        return Log({}, 0)
    if log.damaged:
        notes.append(f"{file.name}: {_lines(log.damaged)}")
    if not log.curves:
        notes.append(f"{file.name} holds no numbers")
    return log


def _baselines(file: Path, notes: list[str]) -> Mapping[str, Scores]:
    found = _json(file, notes)
    return {str(name): scores_of(scores) for name, scores in found.items()} if isinstance(found, dict) else {}


def _result(file: Path, notes: list[str]) -> Mapping[str, Any] | None:
    found = _json(file, notes, needed=False)
    if found is None:
        return None
    if not isinstance(found, dict) or _step(found.get("steps")) is None:
        notes.append(f"{file.name} is damaged: it does not say how many steps were taken")
        return None
    return {"trained": {}, "trained_seconds": None, **found}


def _events(file: Path, notes: list[str]) -> Iterator[Event]:
    for row in _rows(file, notes):
        texts = (str(row.get(name, "")) for name in ("time", "event", "what"))
        yield Event(_step(row.get("step")) or 0, *texts)


def _bad(file: Path, notes: list[str]) -> Iterator[Bad]:
    for row in _rows(file, notes):
        yield Bad(*(str(row.get(name, "")) for name in ("name", "kind", "reason")))


def _step(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= LAST_STEP else None


def _rows(file: Path, notes: list[str]) -> list[dict[str, object]]:
    """The objects of a file of lines, which need not be there."""
    try:
        rows = list(json_lines(file))
    except FileNotFoundError:
        return []
    except OSError as error:
        notes.append(f"{file.name} cannot be read: {error.strerror or error}")
        return []
    damaged = sum(row is None for row in rows)
    if damaged:
        notes.append(f"{file.name}: {_lines(damaged)}")
    return [row for row in rows if row is not None]


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'} cut short or damaged, left out"
