"""`worldjepa bench run`: all rows, one file a result, and nothing computed twice."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import images
from torch import Tensor

from modalities.image import embedded
from worldjepa.bench import jobs, probes, segmentation
from worldjepa.bench.record import Record, read_all, unpack
from worldjepa.cli import main
from worldjepa.encoders import ViT
from worldjepa.evaluate.dense import DenseProtocol
from worldjepa.types import Tokens

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
FAST = ["run.accelerator=cpu", "run.threads=1"]


def bench(options: Path, checkpoint: Path | str, out: Path, *words: str) -> int:
    given = ["suite=small", f"checkpoint={checkpoint}", f"out={out}", "seeds=2", *FAST, *words]
    return main(["bench", "run", *given, "--config-dir", str(options)])


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that encoders are given."""
    seen: list[int] = []
    layers, forward = ViT.layers, ViT.forward

    def counted(self: ViT, obs: Tensor, *more: object, **named: object) -> list[Tokens]:
        seen.append(len(obs))
        return layers(self, obs, *more, **named)  # type: ignore[arg-type]

    def counted_forward(self: ViT, obs: Tensor, *more: object, **named: object) -> Tokens:
        seen.append(len(obs))
        return forward(self, obs, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ViT, "layers", counted)
    monkeypatch.setattr(ViT, "forward", counted_forward)
    return seen


@pytest.fixture(scope="module")
def done(model: Path, options: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one run of the suite."""
    out = tmp_path_factory.mktemp("done")
    assert bench(options, model, out, "missing=skip") == 0
    return out


def by_place(records: list[Record]) -> dict[str, Record]:
    return {str(record.place): record for record in records}


def test_every_row_is_there(done: Path) -> None:
    records = read_all(done)
    assert {record.task for record in records} == {"patterns", "shapes_x"}
    for task in ("patterns", "shapes_x"):
        rows = Counter((one.row, one.probe) for one in records if one.task == task)
        expected = {
            (row, probe): 2 for row in ("trained", "untrained", "raw input") for probe in ("knn", "ridge", "lowshot10")
        }
        assert rows == {**expected, ("chance", "none"): 1, ("supervised", "finetune"): 1}


def test_what_a_record_says(done: Path, model: Path) -> None:
    records = read_all(done)
    assert len({record.key for record in records}) == len(records)
    for record in records:
        assert record.model == "toy"
        outcome = unpack(record)
        assert len(outcome) == record.test == 41
        assert record.score == record.scores["top1"] == pytest.approx(100 * outcome.mean())
        assert record.val == 30
        assert record.train == (90 if record.row in ("chance", "supervised") else pytest.approx(72, abs=5))
        assert record.memory_mb > 10
        assert {"python", "torch", "worldjepa"} <= set(record.versions)
        assert record.command.startswith("worldjepa bench run suite=small")
    assert len({record.examples for record in records if record.task == "patterns"}) == 1
    trained = [record for record in records if record.row == "trained"]
    assert {(record.checkpoint, record.method, record.steps) for record in trained} == {(str(model), "ijepa", 2)}
    untrained = {(one.task, one.seed): one.weights for one in records if one.row == "untrained"}
    assert untrained["patterns", 0] == untrained["shapes_x", 0] != untrained["patterns", 1]


def test_chance_says_the_most_frequent_class(done: Path) -> None:
    from modalities.image.embedded import Patterns
    from worldjepa.evaluate.embed import subset

    splits = Patterns(size=32).probe()
    train, test = (
        splits[split].factors["pattern"].index[subset(splits[split], most)] for split, most in ((0, 90), (2, 41))
    )
    (chance,) = [one for one in read_all(done) if one.row == "chance" and one.task == "patterns"]
    assert chance.score == pytest.approx(100 * np.mean(test == np.bincount(train).argmax()))


def test_nothing_is_computed_again(
    done: Path, model: Path, options: Path, passes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in done.rglob("*.json")}
    assert bench(options, model, done, "missing=skip") == 0
    assert passes == []
    assert {file: file.read_bytes() for file in done.rglob("*.json")} == before
    assert "0 results computed, 40 reused" in capfd.readouterr().out


def test_the_example_of_the_page_runs(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "bench").symlink_to(done)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    assert len(capfd.readouterr().out.splitlines()) == 40


def test_another_name_shares_what_is_known(
    done: Path, model: Path, options: Path, passes: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench(options, model, done, "missing=skip", "name=other", "tasks=patterns") == 0
    assert passes == []
    assert "0 results computed, 20 reused" in capfd.readouterr().out
    named = [record for record in read_all(done) if record.model == "other"]
    assert len(named) == 20
    for file in (done / "other").rglob("*.json"):
        file.unlink()


def test_other_settings_are_computed_anew(
    done: Path, model: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "bench" / "suite"
    own.mkdir(parents=True)
    text = (options / "bench" / "suite" / "small.yaml").read_text()
    (own / "smaller.yaml").write_text(text.replace("share: 0.8", "share: 0.5"))
    out = tmp_path / "out"
    words = ["tasks=patterns", "probes=knn", "rows=trained"]
    assert bench(options, model, out, *words) == 0
    first = by_place(read_all(out))
    assert bench(options, model, out, *words, "suite=smaller", "--config-dir", str(tmp_path)) == 0
    assert "2 in place of others that were found under other settings" in capfd.readouterr().out
    second = by_place(read_all(out))
    assert first.keys() == second.keys()
    for place, record in first.items():
        assert second[place].key != record.key
        assert second[place].train < record.train


def test_a_killed_run_goes_on(
    done: Path, model: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, after, words = tmp_path / "out", 7, ["tasks=patterns", "rows=trained,untrained,raw"]
    answered: list[int] = []
    answer = jobs._computed

    def fails(job: jobs.Job, key: str, circumstances: jobs.Circumstances) -> Record:
        if len(answered) == after:
            raise KeyboardInterrupt
        answered.append(job.spec.seed)
        return answer(job, key, circumstances)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_computed", fails)
        assert bench(options, model, out, *words) == 130
    kept = by_place(read_all(out))
    assert len(kept) == after
    assert not list(out.rglob(".lock"))

    def counted(job: jobs.Job, key: str, circumstances: jobs.Circumstances) -> Record:
        answered.append(job.spec.seed)
        return answer(job, key, circumstances)

    monkeypatch.setattr(jobs, "_computed", counted)
    assert bench(options, model, out, *words) == 0
    assert len(answered) == 18
    whole = by_place(read_all(out))
    assert {place: vars(whole[place]) for place in kept} == {place: vars(record) for place, record in kept.items()}
    uninterrupted = by_place(read_all(done))
    assert {place: one.score for place, one in whole.items()} == {place: uninterrupted[place].score for place in whole}


def measured(records: list[Record]) -> dict[str, dict[str, object]]:
    """All of each result that does not depend on when and where it was found."""
    names = ("key", "score", "scores", "chosen", "train", "val", "test", "correct", "examples", "weights", "unreadable")
    return {str(one.place): {name: getattr(one, name) for name in names} for one in records}


def test_a_run_that_is_killed_anywhere_loses_nothing(
    done: Path,
    model: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """`kill -9`, from outside, wherever it happens to be after the second result; no features are there beforehand."""
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    out, words = tmp_path / "out", ["tasks=patterns", "rows=trained,untrained,raw,chance", *FAST]
    given = ["bench", "run", "suite=small", f"checkpoint={model}", f"out={out}", "seeds=2", *words]
    given += ["--config-dir", str(options)]
    script = (
        f"from modalities.image import embedded; embedded.PROBE_SIZES = {embedded.PROBE_SIZES!r}; "
        f"from worldjepa.cli import main; main({given!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    while len(list(out.glob("toy/**/*__seed?.json"))) < 2 and child.poll() is None:
        time.sleep(0.005)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    finished = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in out.glob("toy/**/*__seed?.json")}
    assert 2 <= len(finished) < 19
    assert bench(options, model, out, *words) == 0
    assert f"{19 - len(finished)} results computed, {len(finished)} reused" in capfd.readouterr().out
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in finished} == finished
    whole, undisturbed = measured(read_all(out)), measured(read_all(done))
    assert len(whole) == 19
    assert whole == {place: undisturbed[place] for place in whole}
    assert not list(out.rglob(".*.json*"))


def test_features_are_computed_once(model: Path, options: Path, tmp_path: Path, passes: list[int]) -> None:
    probed = ["tasks=patterns", "rows=trained"]
    out = tmp_path / "out"
    fresh = [f"name={name}" for name in ("a", "b")]
    assert bench(options, model, out, *probed, "probes=knn", fresh[0]) == 0
    seen = sum(passes)
    assert seen in (0, 90 + 30 + 41)  # an earlier test may have left them
    assert bench(options, model, tmp_path / "second", *probed, "probes=ridge,lowshot10", fresh[1]) == 0
    assert sum(passes) == seen


def test_worlds(world: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench(options, world, tmp_path, "probes=ridge,plan") == 0
    records = read_all(tmp_path)
    assert {record.metric for record in records} == {"r2", "top1", "success"}
    for record in records:
        unit = 1 if record.metric == "r2" else 100
        assert record.score == pytest.approx(unit * unpack(record).mean(), abs=1e-5)
    plans = Counter(record.row for record in records if record.metric == "success")
    assert plans == {"trained": 2, "untrained": 2, "chance": 1, "supervised": 1}
    (way,) = [one for one in records if one.row == "supervised" and one.metric == "success"]
    assert way.score == 100
    (mean,) = [one for one in records if one.row == "chance" and one.metric == "r2"]
    assert -0.5 < mean.score <= 0
    raw = [one for one in records if one.row == "raw input" and one.metric == "r2"]
    assert min(one.score for one in raw) > mean.score
    capfd.readouterr()
    assert bench(options, world, tmp_path, "probes=plan", "tasks=rooms_plan_tiny") == 0
    assert "0 results computed, 6 reused" in capfd.readouterr().out


def test_pixels_and_things_to_follow(
    model: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(segmentation, "HEAD", DenseProtocol(epochs=1))
    data = {name: getattr(images, name)(tmp_path / name) for name in ("ade20k", "davis")}
    words = [f"root.{name}={folder}" for name, folder in data.items()]
    assert bench(options, model, tmp_path / "out", "suite=pixels", "seeds=1", *words) == 0
    found = Counter((one.task, one.probe, one.row) for one in read_all(tmp_path / "out"))
    probes_of = {"ade20k": "segment", "davis_small": "propagate"}
    rows = ("trained", "untrained", "raw input")
    assert found == {
        **{(task, probe, row): 1 for task, probe in probes_of.items() for row in rows},
        **{(task, "none", "chance"): 1 for task in probes_of},
    }
    capfd.readouterr()
    assert bench(options, model, tmp_path / "out", "suite=pixels", "seeds=1", *words) == 0
    assert "0 results computed, 8 reused" in capfd.readouterr().out
    assert main(["bench", "report", str(tmp_path / "out")]) == 0
    told = capfd.readouterr().out
    assert "There is no row supervised: no encoder is trained on classes of pixels." in told
    assert "Missing" not in told
    assert bench(options, model, tmp_path / "out", "suite=pixels", "probes=ridge", *words) == 2
    assert "probe 'ridge' is not known" in capfd.readouterr().err


def test_two_models_at_once(model: Path, world: Path, options: Path, tmp_path: Path) -> None:
    words = ["tasks=patterns,rooms_column", "probes=knn", "rows=trained"]
    assert bench(options, f"[{model},{world}]", tmp_path, *words) == 0
    assert {(one.model, one.modality) for one in read_all(tmp_path)} == {("toy", "image"), ("rooms", "trajectory")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=smal"], "suite 'smal' is not known (did you mean 'small'?)"),
        (["tasks=pattern"], "task of suite small 'pattern' is not known (did you mean 'patterns'?)"),
        (["probes=kmn"], "probe 'kmn' is not known (did you mean 'knn'?)"),
        (["rows=traned"], "row 'traned' is not known (did you mean 'trained'?)"),
        (["seeds=0"], "seeds=0: must be a whole number, 1 or more"),
        (["missing=ignore"], "missing 'ignore' is not known"),
        (["sets=3"], "key 'sets' is not one of bench run's (did you mean 'seeds'?)"),
        (["checkpoint=nowhere"], "checkpoint 'nowhere' is not there"),
        (["tasks=rooms_column"], "is a model of image, for which there is no task here (suite=small: trajectory)"),
        (["name=a/b"], "name=a/b: must be the name of a folder"),
        (["name=a,b"], "name= gives 2 names for 1 checkpoints"),
        ([], "task imagenet needs data: give root.imagenet=FOLDER, or put the folder in $WORLDJEPA_DATA/imagenet"),
        (["root.imagenet=nowhere"], "root.imagenet=nowhere is no folder; it must hold train/<wnid>/"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, model: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench(options, model, tmp_path / "out", *words) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_of_another_layout_is_refused_before_anything_is_computed(
    model: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "imagenet" / "photos").mkdir(parents=True)
    monkeypatch.setenv("WORLDJEPA_DATA", str(tmp_path / "data"))
    assert bench(options, model, tmp_path / "out") == 2
    assert "error: task imagenet: " in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_taken(
    done: Path, model: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (one, *_) = [record for record in read_all(done) if record.row == "trained"]
    replace(one, checkpoint="another/toy", weights="0" * 64).write(tmp_path)
    assert bench(options, model, tmp_path, "missing=skip") == 2
    assert "'toy' is already the name of results of another/toy" in capfd.readouterr().err


def test_a_damaged_result_is_computed_anew(
    model: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["tasks=patterns", "probes=knn", "rows=trained"]
    assert bench(options, model, tmp_path, *words) == 0
    file = tmp_path / "toy" / "patterns__knn__seed1.json"
    whole = json.loads(file.read_text())
    file.write_text(file.read_text()[:100])
    assert bench(options, model, tmp_path, *words) == 0
    told = capfd.readouterr().out
    assert "not reused: " in told
    assert "1 results computed, 1 reused" in told
    assert json.loads(file.read_text())["score"] == whole["score"]


def test_two_at_once_into_one_folder(
    model: Path, options: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from worldjepa.train.lock import RunLock

    with RunLock(tmp_path / "toy", "out"):
        assert bench(options, model, tmp_path, "tasks=patterns") == 73
    assert f"out={tmp_path / 'toy'} is being written by process" in capfd.readouterr().err


def test_features_that_are_no_numbers(
    model: Path,
    options: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    layers = ViT.layers

    def diverged(self: ViT, *more: object, **named: object) -> list[Tokens]:
        return [Tokens(one.x * torch.nan, one.pos) for one in layers(self, *more, **named)]  # type: ignore[arg-type]

    monkeypatch.setattr(ViT, "layers", diverged)
    assert bench(options, model, tmp_path / "out", "tasks=patterns", "probes=knn", "rows=trained") == 2
    assert "the features of the trained encoder of toy are not all numbers" in capfd.readouterr().err


def test_probes_that_draw_nothing_are_asked_once(options: Path) -> None:
    from worldjepa.cli.bench_options import read_suites, read_tasks

    suite = replace(read_suites([options])["small"], share=1.0)
    task = read_tasks([options])["patterns"]
    found = Counter((one.row, one.probe) for one in jobs.specs(task, suite, ["trained", "untrained"], None, 3))
    for probe, one in probes.CLASSES.items():
        assert found["trained", probe] == (3 if one.random else 1)
        assert found["untrained", probe] == 3
