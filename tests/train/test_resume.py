"""Going on from a checkpoint: the same run as without the interruption, or a clear refusal."""

from __future__ import annotations

import json
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
    assert {path.name for path in interrupted.iterdir()} == {path.name for path in finished.iterdir()} | {
        "events.jsonl"
    }
    (resumed,) = [json.loads(line) for line in (interrupted / "events.jsonl").read_text().splitlines()]
    assert (resumed["step"], resumed["event"]) == (3, "resumed")
    assert "went on from step 3" in (interrupted / "report.html").read_text(encoding="utf-8")
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
        ("seed=1", ["seed was 0, is 1"]),
        ("run.batch_size=4", ["global_batch was 8, is 4"]),
        ("run.accumulate=3", ["global_batch was 8, is 24"]),
        ("arch.dim=48", ["arch.dim was 24, is 48"]),
        ("arch.patch=8", ["arch.patch was 4, is 8"]),
        ("arch.encoder.depth=2", ["arch.encoder.depth was 1, is 2", "optimizer_groups was {"]),
        ("arch.predictor.depth=2", ["predictor.depth was 1, is 2"]),
        ("optim.lr=0.5", ["optim.lr was", "is 0.5"]),
        ("masks.min_context=5", ["masks.min_context was 4, is 5"]),
        ("masks.targets=3", ["masks.targets was 4, is 3"]),
        ("optim.ema_start=0.5", ["optim.ema_start was", "is 0.5"]),
        ("data.noise=0.5", ["data.noise was 0.08, is 0.5", "data_fingerprint was"]),
        ("data.count=128", ["data.count was 256, is 128", "data_fingerprint was"]),
        ("data=shapes", ["data._target_ was"]),
        ("method=ijepa_vicreg", ["objective._target_ was"]),
    ],
)
def test_another_run_cannot_go_on(
    word: str, told: list[str], interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(interrupted, capsys, "run.resume=auto", word)
    assert all(part in error for part in told), error


def test_other_data_cannot_go_on(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from worldjepa.train.checkpoint import read_state

    mine = read_state(interrupted / "checkpoints" / OLDER)["data_fingerprint"]
    error = refused(interrupted, capsys, "run.resume=auto", "data.seed=1")
    assert f"data_fingerprint was {mine}, is " in error
    assert "data.seed was 0, is 1" in error
    assert "run.allow_mismatch=[data.seed,data_fingerprint]" in error


def test_a_difference_may_be_allowed_by_name(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run.resume=auto", "optim.lr=0.002", "masks.targets=3"]
    refused(interrupted, capsys, *words, "run.allow_mismatch=[optim.lr]")
    assert train(interrupted, *words, "run.allow_mismatch=[optim.lr,masks]") == 0
    assert "going on although optim.lr was" in capsys.readouterr().out


def test_weights_may_start_another_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new"
    words = [
        f"run.init_from={finished}",
        "optim.lr=1e-9",
        "optim.start_lr=0",
        "optim.final_lr=0",
        "seed=1",
        "run.steps=1",
    ]
    assert train(new, *words) == 0
    assert "everything else begins anew" in capsys.readouterr().out
    began, ended = tensors(finished), tensors(new, "step-00000001")
    names = [name for name in began if not name.startswith("optimizer/")]
    assert max(float((began[name] - ended[name]).abs().max()) for name in names) < 1e-4
    assert [row["step"] for row in rows(new)] == [0, 1, 1]
    assert "does not fit this model" in refused_anew(tmp_path / "other", capsys, *words[:1], "arch.dim=48")


def refused_anew(out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Train in a new folder, which must be refused and write nothing; returns what the user is told."""
    assert train(out, *words) == 2
    assert not out.exists()
    return capsys.readouterr().err


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
