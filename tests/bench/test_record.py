"""Results of benchmarks come back as they were written, and what is no result is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.made import result
from worldjepa.bench.record import Record, pack, read, read_all, tidy, unpack
from worldjepa.errors import Unsaved, UserError

RECORD = Record(
    key="a" * 64,
    suite="embedded",
    task="shapes_hue",
    version=1,
    modality="image",
    factor="hue",
    metric="top1",
    higher_is_better=True,
    model="my model",
    row="trained",
    checkpoint="runs/mine",
    weights="b" * 64,
    method="ijepa",
    steps=100,
    probe="knn",
    seed=2,
    score=62.5,
    scores={"top1": 62.5, "val_top1": 60},
    chosen={"k": 20, "features": "last"},
    train=100,
    val=20,
    test=8,
    unreadable=0,
    correct=pack(torch.tensor([True, False, True, True, False, True, True, False])),
    examples="c" * 64,
    seconds={"features": 1.5, "probe": 0.25},
    memory_mb=300.0,
    versions={"torch": "2"},
    commit=None,
    device="cpu",
    threads=1,
    command="worldjepa bench run",
)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    untrained = replace(RECORD, row="untrained", seed=0)
    files = [one.write(tmp_path) for one in (RECORD, untrained)]
    assert files[0] == tmp_path / "my model" / "shapes_hue__knn__seed2.json"
    assert files[1].parent != files[0].parent
    assert [vars(one) for one in read_all(tmp_path)] == [vars(RECORD), vars(untrained)]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(files)  # nothing is left aside


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_outcomes_come_back(n: int) -> None:
    rng = torch.Generator().manual_seed(n)
    bits = torch.rand(n, generator=rng) < 0.5
    numbers = torch.randn(n, generator=rng)
    assert unpack(replace(RECORD, correct=pack(bits))).tolist() == bits.double().tolist()
    assert np.array_equal(unpack(replace(RECORD, correct=pack(numbers))), numbers.double().numpy())


def test_outcomes_that_are_not_there_are_an_error() -> None:
    with pytest.raises(UserError, match=r"shapes_hue__knn__seed2\.json holds no outcomes"):
        unpack(replace(RECORD, correct=None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", "62.5"),
        ("score", float("nan")),
        ("seed", True),
        ("seed", -1),
        ("row", "best"),
        ("probe", "guess"),
        ("key", "abc"),
        ("model", "../elsewhere"),
        ("scores", {"top1": None}),
        ("seconds", {"probe": 1.0}),
        ("correct", {"kind": "bits", "n": 9, "data": "oA=="}),
        ("correct", {"kind": "float32", "n": 1, "data": "no base64!"}),
        ("steps", 1.5),
        ("extra", 1),
    ],
)
def test_a_damaged_field_is_named(tmp_path: Path, field: str, value: object) -> None:
    file = RECORD.write(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(UserError, match=rf"seed2\.json is damaged .*'{field}'"):
        read_all(tmp_path)


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    file = RECORD.write(tmp_path)
    whole = file.read_text()
    cases = {
        whole[: len(whole) // 2]: "is no result",
        "[]": "no field 'schema'",
        '{"step": 3}': "no field 'schema'",
        whole.replace('"schema": 2', '"schema": 3'): "has schema 3",
        whole.replace('"seed": 2,', ""): "field 'seed' is missing",
    }
    for text, message in cases.items():
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read(file)
    with pytest.raises(UserError, match="there is no folder"):
        read_all(tmp_path / "nowhere")


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "my model").write_text("a file where a folder should be")
    with pytest.raises(Unsaved, match="could not be written"):
        RECORD.write(tmp_path)


def test_what_killed_writers_left_is_taken_away(tmp_path: Path) -> None:
    kept = [result().write(tmp_path), result(row="untrained").write(tmp_path)]
    others = [tmp_path / "vjepa" / ".notes.json.1", tmp_path / "vjepa" / ".lock"]
    torn = [file.with_name(f".{file.name}.{pid}") for file, pid in zip(kept, (1, 23), strict=True)]
    for file in (*others, *torn):
        file.write_text("{")
    tidy(tmp_path)
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == sorted([*kept, *others])
