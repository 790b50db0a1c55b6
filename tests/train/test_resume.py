"""Going on from a checkpoint: the same run as without the interruption, or a clear refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from train.toy import contents, differing, flip_a_byte, losses, rows, table, tensors, train

OLDER, NEWER = "step-00000003", "step-00000006"


@pytest.fixture
def interrupted(finished: Path, tmp_path: Path) -> Path:
    """The finished run as a crash after the first checkpoint would have left it: its metrics run ahead."""
    out = tmp_path / "interrupted"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoints" / NEWER)
    (out / "report.json").unlink()
    return out


@pytest.fixture
def whole(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "whole"))


def same_end(out: Path, finished: Path) -> None:
    """Weights and optimiser end as they would have, bit for bit, and no step is missing or told twice."""
    assert differing(tensors(out), tensors(finished)) == []
    assert losses(out) == losses(finished)
    assert [row["step"] for row in rows(out)] == [row["step"] for row in rows(finished)]
    assert table(out) == rows(out)


def test_an_interrupted_run_ends_as_if_nothing_had_happened(interrupted: Path, finished: Path) -> None:
    assert train(interrupted, "run.save_every=3", "run.keep=5", "run.resume=auto") == 0
    same_end(interrupted, finished)
    assert {path.name for path in interrupted.iterdir()} == {path.name for path in finished.iterdir()}
    assert (interrupted / "baselines.json").read_bytes() == (finished / "baselines.json").read_bytes()


def test_the_random_parts_go_on_too(tmp_path: Path) -> None:
    words = ["data.augment=crop", "data.count=40", "run.save_every=2", "run.keep=5"]
    assert train(tmp_path, *words) == 0  # the second epoch begins after step 5
    expected = tensors(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / NEWER)
    assert train(tmp_path, *words, "run.resume=auto") == 0
    assert differing(tensors(tmp_path), expected) == []


def test_rows_that_the_crash_cut_short_are_dropped(interrupted: Path, finished: Path) -> None:
    for name, torn in (("metrics.jsonl", '{"step": 2, "tra'), ("metrics.csv", "2,0.")):
        with (interrupted / name).open("a") as stream:
            stream.write(torn)
    assert train(interrupted, "run.resume=auto") == 0
    same_end(interrupted, finished)


def test_a_run_that_saved_nothing_starts_anew(interrupted: Path, finished: Path) -> None:
    shutil.rmtree(interrupted / "checkpoints")
    assert train(interrupted, "run.resume=auto") == 0
    same_end(interrupted, finished)


@pytest.mark.parametrize("place", [f"checkpoints/{OLDER}", "."], ids=["a checkpoint", "a run folder"])
def test_a_path_goes_on_in_a_folder_of_its_own(place: str, interrupted: Path, finished: Path, tmp_path: Path) -> None:
    before = contents(interrupted)
    assert train(tmp_path / "new", f"run.resume={interrupted / place}") == 0
    assert differing(tensors(tmp_path / "new"), tensors(finished)) == []
    assert losses(tmp_path / "new") == losses(finished)[3:]
    assert contents(interrupted) == before


def test_a_longer_run_goes_on_from_a_finished_one(whole: Path) -> None:
    assert train(whole, "run.resume=auto", "run.steps=8") == 0
    assert [row["step"] for row in rows(whole)] == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 8]


def refused(out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Train, which must be refused and change nothing; returns what the user is told."""
    before = contents(out)
    assert train(out, *words) == 2
    assert contents(out) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("seed=1", ["seed=0", "seed=1"]),
        ("run.batch_size=4", ["global_batch=8", "global_batch=4"]),
        ("run.accumulate=3", ["global_batch=8", "global_batch=24"]),
        ("arch.dim=48", ["does not fit this model", "(saved [24], here [48])"]),
        ("arch.encoder.depth=2", ["missing: encoder.blocks.1."]),
    ],
)
def test_another_run_cannot_go_on(
    word: str, told: list[str], interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(interrupted, capsys, "run.resume=auto", word)
    assert all(part in error for part in told), error


def test_other_data_cannot_go_on(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from worldjepa.train.checkpoint import read_state

    mine = read_state(interrupted / "checkpoints" / OLDER)["data"]
    error = refused(interrupted, capsys, "run.resume=auto", "data.seed=1")
    assert f"data={mine}" in error
    assert error.count("data=") == 2


def test_a_finished_run_needs_more_steps(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "raise run.steps (now 6)" in refused(whole, capsys, "run.resume=auto")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"])
def test_a_damaged_newest_checkpoint_is_passed_over(
    file: str, whole: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_a_byte(whole / "checkpoints" / NEWER / file)
    assert train(whole, "run.resume=auto") == 0
    told = capsys.readouterr().out
    assert f"{NEWER} is damaged: {file} does not have the checksum" in told
    assert "going on from step 3" in told
    same_end(whole, finished)


def test_without_a_sound_checkpoint_nothing_goes_on(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (interrupted / "checkpoints" / OLDER / "MANIFEST.json").unlink()
    error = refused(interrupted, capsys, "run.resume=auto")
    assert "no checkpoint is left to resume from" in error
    assert OLDER in error


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (flip_a_byte, "model.safetensors does not have the checksum"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "model.safetensors does not have the size"),
        (lambda file: file.unlink(), "model.safetensors is missing"),
    ],
    ids=["flipped", "truncated", "gone"],
)
def test_a_damaged_checkpoint_by_its_path_is_an_error(
    harm: object, told: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = whole / "checkpoints" / NEWER
    assert callable(harm)
    harm(path / "model.safetensors")
    assert train(tmp_path / "new", f"run.resume={path}") == 2
    assert f"{path} is damaged: {told}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
