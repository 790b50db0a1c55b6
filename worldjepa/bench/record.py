"""One result of a benchmark: a file of JSON, written at once when it is known and whole or not at all."""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from worldjepa.errors import Unsaved, UserError, unknown

SCHEMA = 2
"""Changes when a field does. Schema 1 had no `cost`, and is read as if it were empty."""
COSTS = ("seconds", "samples", "flops")
"""What training cost until the weights were as they are."""
ROWS = ("trained", "untrained", "raw input", "chance", "supervised")
PROBES = (
    *("knn", "ridge", "logistic", "linear", "attentive", "lowshot1", "lowshot10"),
    *("finetune", "segment", "depth", "propagate", "plan", "none"),
)
KINDS = {"bits": "|u1", "float32": "<f4"}
"""How outcomes of single examples are kept: 8 a byte, or a number each."""

_ASIDE = re.compile(r"\..+__.+__seed\d+\.json\.\d+")
"""The name of a result while it is being written."""
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Record:
    """What one probe found on one task with one seed, and everything that decides or explains the number."""

    key: str
    """SHA-256 over all that decides the number: two records with the same key hold the same result."""
    suite: str
    task: str
    version: int
    """Of the task."""
    modality: str
    factor: str | None
    metric: str
    higher_is_better: bool
    model: str
    """Its name: what the user chose, or the name of the run folder."""
    row: str
    """One of `ROWS`: the model, or what it is compared with."""
    checkpoint: str | None
    weights: str | None
    """SHA-256 of the weights, where there are any."""
    method: str | None
    steps: int | None
    probe: str
    """One of `PROBES`; `none` for chance."""
    seed: int
    score: float
    """The number of the table, in the unit of the metric: percent for top1, miou, map, success, plain for r2, metres for
    rmse."""
    scores: dict[str, float]
    """All numbers, among them those of folds as `fold/NAME`."""
    chosen: dict[str, float | int | str]
    """What was chosen on the validation split."""
    train: int
    val: int
    test: int
    unreadable: int
    correct: dict[str, int | str] | None
    """The outcome of each test example, see `pack` and `unpack`; None where there is none."""
    examples: str
    """SHA-256 of the identities of the test examples in order: only equal ones may be compared example by example."""
    seconds: dict[str, float]
    """`features` (0 where they were there already) and `probe`."""
    memory_mb: float
    versions: dict[str, str]
    commit: str | None
    device: str
    threads: int
    command: str
    cost: dict[str, float] = field(default_factory=dict)
    """What the training of the weights had cost, as `COSTS` names it; empty where that was not asked for."""
    schema: int = SCHEMA

    @property
    def place(self) -> Path:
        """Its file within the folder of results: `MODEL/TASK__PROBE__seedK.json`, for other rows in `MODEL/ROW`."""
        folder = Path(self.model) if self.row == "trained" else Path(self.model) / self.row.replace(" ", "_")
        return folder / f"{self.task}__{self.probe}__seed{self.seed}.json"

    def write(self, folder: Path) -> Path:
        """Write it to its place in a folder of results, whole or not at all, and return the file.

        Raises:
            Unsaved: the disk does not take it.
        """
        fault = _fault(asdict(self))
        assert fault is None, fault
        file = folder / self.place
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("w", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(self), indent=1) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(file)
        except OSError as error:
            raise Unsaved(f"{file} could not be written: {error.strerror or error}") from error
        return file


def read(file: Path) -> Record:
    """Read one result.

    Raises:
        UserError: the file is damaged or something else; the message names it and the field.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # not there, not UTF-8, or not JSON
        raise UserError(f"{file} is no result of a benchmark: {error}") from error
    if not isinstance(found, dict) or "schema" not in found:
        raise UserError(f"{file} is no result of a benchmark: it has no field 'schema'")
    if found["schema"] == 1:
        found = {**found, "cost": {}, "schema": SCHEMA}
    if found["schema"] != SCHEMA:
        raise UserError(f"{file} has schema {found['schema']!r}; this version of worldjepa reads schema {SCHEMA}")
    fault = _fault(found)
    if fault is not None:
        raise UserError(f"{file} is damaged or no result of a benchmark: {fault}")
    return Record(**found)


def read_all(folder: Path) -> list[Record]:
    """All results in a folder and below it, in the order of their files.

    Raises:
        UserError: the folder is not there, or holds a JSON file that is no result.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} with results of `worldjepa bench run`")
    return [read(file) for file in sorted(folder.rglob("*.json")) if not file.name.startswith(".")]


def tidy(folder: Path) -> None:
    """Take away what writers that were killed left half-written below a folder, in which nobody else is writing."""
    for file in folder.rglob(".*.json.*"):
        if _ASIDE.fullmatch(file.name):
            file.unlink(missing_ok=True)


def pack(outcome: Bool[Tensor, " N"] | Float[Tensor, " N"]) -> dict[str, int | str]:
    """The outcomes of examples in their order: right or wrong as bits, numbers as float32."""
    array = outcome.detach().cpu().numpy()
    kind = "bits" if array.dtype == np.bool_ else "float32"
    data = np.packbits(array) if kind == "bits" else array.astype(KINDS[kind])
    return {"kind": kind, "n": len(array), "data": base64.b64encode(data.tobytes()).decode("ascii")}


def unpack(record: Record) -> NDArray[np.float64]:
    """The outcomes of a record's examples `[N]`, 1 for right and 0 for wrong.

    Raises:
        UserError: it has none.
    """
    if record.correct is None:
        raise UserError(f"{record.place} holds no outcomes of single examples")
    return _outcomes(record.correct)


def _outcomes(packed: Mapping[str, Any]) -> NDArray[np.float64]:
    data = np.frombuffer(base64.b64decode(packed["data"], validate=True), dtype=KINDS[packed["kind"]])
    return (np.unpackbits(data)[: packed["n"]] if packed["kind"] == "bits" else data).astype(np.float64)


def _fault(found: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a record; None where they are as `write` writes them."""
    hints = get_type_hints(Record)
    names = [one.name for one in fields(Record)]
    strange = [name for name in found if name not in names]
    if strange:
        return str(unknown("field", strange[0], names))
    for name in names:
        if name not in found:
            return f"field '{name}' is missing"
        if not _fits(found[name], hints[name]):
            return f"field '{name}' cannot be {_shown(found[name])}"
    for name, sound in _RULES.items():
        if not sound(found[name]):
            return f"field '{name}' cannot be {_shown(found[name])}"
    return None


def _fits(value: object, hint: Any) -> bool:
    """Whether a value out of JSON is what a field may hold; numbers are finite, and a flag is no number."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is dict:
        kind = get_args(hint)[1]
        return isinstance(value, dict) and all(isinstance(k, str) and _fits(v, kind) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _packed(correct: Mapping[str, Any] | None) -> bool:
    if correct is None:
        return True
    if set(correct) != {"kind", "n", "data"} or correct["kind"] not in KINDS:
        return False
    n, data = correct["n"], correct["data"]
    if not isinstance(n, int) or n < 0 or not isinstance(data, str):
        return False
    try:
        held = len(base64.b64decode(data, validate=True))
    except binascii.Error:
        return False
    return held == ((n + 7) // 8 if correct["kind"] == "bits" else 4 * n)


def _named(name: str) -> bool:
    """Whether it can be the name of a file on any system, so that no result lands outside its folder."""
    return re.fullmatch(r"[\w.+=@ -]+", name) is not None and not name.startswith(".")


_RULES: dict[str, Callable[[Any], bool]] = {
    "key": lambda value: _HEX.fullmatch(value) is not None,
    "examples": lambda value: _HEX.fullmatch(value) is not None,
    "row": lambda value: value in ROWS,
    "probe": lambda value: value in PROBES,
    "task": _named,
    "model": _named,
    "seed": lambda value: value >= 0,
    "seconds": lambda value: set(value) == {"features", "probe"},
    "cost": lambda value: set(value) <= {*COSTS} and all(one >= 0 for one in value.values()),
    "correct": _packed,
}
