"""The field's tasks on tiny data sets in the published layouts: found, labelled, split and scored as the task says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import images, sounds, videos

from modalities.image.tokenizer import Patches
from worldjepa.bench.bed import Bed
from worldjepa.bench.encoders import Device
from worldjepa.bench.following import FollowBed
from worldjepa.bench.jobs import Spec, specs
from worldjepa.bench.subject import Subject
from worldjepa.bench.tasks import NEVER, Most, Suite, Task
from worldjepa.cli.bench_data import examples_of, facts_of, grouped, open_group, tracking_of
from worldjepa.cli.bench_options import read_suites, read_tasks
from worldjepa.cli.bench_running import _job
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.evaluate.dense import DenseProtocol, overlap
from worldjepa.evaluate.propagation import follow
from worldjepa.evaluate.supervised import Budget
from worldjepa.interop import Pretrained

CPU = torch.device("cpu")
PLACE = Device(CPU, nullcontext, "32-true", 16)
TASKS = read_tasks([])
VIEWS: dict[str, dict[str, Any]] = {
    "image": {"size": 8, "channels": 3},
    "video": {"size": 8, "channels": 1, "frames": 2, "stride": 1, "fps": None},
    "audio": {"front_end": "mel_16k", "frames": 8, "seconds": None},
}
FOLDS = {"hear_crema_d": 5}
"""Of HEAR's tasks in folds one."""
TEST = {
    "cifar10": 3,
    "cifar100": 8,
    "clevr_count": 6,
    "clevr_distance": 6,
    "places205": 4,
    "inat18": 4,
    "diving48": 4,
    "jester": 4,
    "epic100_action": 2,
    "epic100_verb": 2,
    "epic100_noun": 2,
    "nsynth_family": 6,
    "nsynth_pitch": 6,
    "fsd50k": 4,
    "gtzan": 4,
    **{name: 4 * folds for name, folds in FOLDS.items()},
    "hear_speech_commands_5h": 4,
    "hear_fsd50k": 4,
}
"""Test examples of the tiny copies."""


def hear(root: Path) -> Path:
    """Some of HEAR's tasks, each the same few recordings under its own name."""
    for name in ("hear_speech_commands_5h", "hear_fsd50k", *FOLDS):
        sounds.hear(root, folds=FOLDS.get(name, 0), several=name == "hear_fsd50k")
        (root / "beehive").rename(root / TASKS[name].settings["task"])
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    **{
        name: getattr(images, name)
        for name in ("cifar10", "cifar100", "clevr", "places205", "inat18", "ade20k", "nyu_depth", "davis")
    },
    **{name: getattr(videos, name) for name in ("diving48", "jester", "epic100")},
    **{name: getattr(sounds, name) for name in ("nsynth", "fsd50k", "gtzan")},
    "hear": hear,
}


def subject(modality: str) -> Subject:
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 16, channels=3), dim=16, depth=1, heads=2, init="xavier")
    tokenizer = {"_target_": "modalities.image.tokenizer.Patches", "patch": 4, "dim": 16, "channels": 3}
    node = {"_target_": "worldjepa.encoders.ViT", "tokenizer": tokenizer, "dim": 16, "depth": 1, "heads": 2}
    facts = {"encoder": node, "steps": 1, "image": None, "view": VIEWS[modality]}
    return Subject("m", "m", Pretrained(encoder, None, facts), modality, None, None)


def suite(**changes: Any) -> Suite:
    return Suite("s", "S.", (), supervised=Budget(2, 4, checks=1, augment=False), **changes)


def bed(tasks: list[Task], root: Path, asked: Suite) -> Bed:
    modality = tasks[0].modality
    group = open_group(tasks, subject(modality), {str(tasks[0].folder): str(root)}, ())
    return Bed(subject(modality), examples_of(group, asked), facts_of(group.config), asked, PLACE, lambda text: None)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))


def test_every_task_on_data_of_ones_own_is_tried_here() -> None:
    elsewhere = {"imagenet", "kinetics", "ssv2", "esc50", "urbansound8k", "speech_commands"}
    mine = {name for name, task in TASKS.items() if task.folder}
    alike = {name for name in mine if name.startswith("hear_")}  # one of each kind
    assert mine - alike == {*TEST, "ade20k", "nyu_depth", "davis", *elsewhere} - alike
    kinds = {one: (TASKS[one].folds > 0, TASKS[one].first_fold, TASKS[one].metric, TASKS[one].factor) for one in alike}
    assert {*kinds.values()} == {kinds[one] for one in TEST if one in alike}
    shipped = {name for one in ("image", "video", "audio") for name in read_suites([])[one].tasks}
    assert shipped == mine


@pytest.mark.filterwarnings("ignore:.*labels? .*:UserWarning")
@pytest.mark.parametrize("folder", [name for name in WRITERS if name not in ("ade20k", "nyu_depth", "davis")])
def test_a_task_is_scored(folder: str, tmp_path: Path) -> None:
    root = WRITERS[folder](tmp_path / "data")
    for tasks in grouped([TASKS[name] for name in TEST if TASKS[name].folder == folder]):
        lying = bed(tasks, root, suite())
        for task in tasks:
            for row, probe in (("raw input", "ridge"), ("raw input", "knn"), ("chance", "none")):
                found = lying.answer(Spec(task, row, probe, 0))
                assert found.counts[2] == TEST[task.name]
                assert 0 <= found.score <= 100
                assert found.score == pytest.approx(found.scores[task.metric])
                assert (found.outcome is None) == (task.metric == "map")
                if found.outcome is not None and not task.folds:
                    unit = 1 if found.outcome.is_floating_point() else 100
                    assert found.score == pytest.approx(unit * float(found.outcome.double().mean()))
            if task.folds:
                assert sum(name.startswith("fold/") for name in found.scores) == task.folds
                assert list(lying.examples.parts) == [str(fold) for fold in range(task.folds)]


def test_tags_by_hand(tmp_path: Path) -> None:
    """Chance ranks nothing, so that average precision is the share of a class; the ceiling is learned and told."""
    (task,) = [TASKS["fsd50k"]]
    lying = bed([task], sounds.fsd50k(tmp_path / "data"), suite())
    members = lying.examples.values["test"]
    assert members.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    chance = lying.answer(Spec(task, "chance", "none", 0))
    assert chance.score == pytest.approx(100 * float(members.mean(0).mean()))
    assert lying.facts(Spec(task, "chance", "none", 0))["task"] == ["fsd50k", 1, None, "map"]


def test_chance_says_five_actions() -> None:
    from worldjepa.bench import ranks

    train = ranks.members_of(torch.tensor([0] * 9 + [1] * 8 + [2] * 7 + [3] * 6 + [4] * 5 + [5] * 4), 7)
    y = torch.tensor([0, 0, 4, 5, 5, 5, 6])
    test = ranks.members_of(y, 7)
    blind = ranks.said_blindly(train, len(y))
    scores = ranks.judged("recall5", blind, test)
    assert scores["recall5"] == pytest.approx(50)  # of 0, 4, 5 and 6 the first two are said
    assert scores["top5"] == pytest.approx(100 * 3 / 7)
    assert scores["top1"] == pytest.approx(100 * 2 / 7)
    outcome = ranks.outcome("recall5", blind, test)
    assert outcome is not None
    assert float(outcome.mean()) == pytest.approx(50)


def test_pixels(tmp_path: Path) -> None:
    task = TASKS["ade20k"]
    root = images.ade20k(tmp_path / "data")
    (root / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png").write_bytes(b"torn")
    asked = suite(share=0.8)
    lying = bed([task], root, asked)
    every = specs(task, asked, ["trained", "untrained", "raw input", "chance", "supervised"], None, 1)
    assert [(one.row, one.probe) for one in every] == [
        *[(row, "segment") for row in ("trained", "untrained", "raw input")],
        ("chance", "none"),
    ]
    found = {(one.row, one.seed): lying.answer(one) for one in every}
    for one in found.values():
        assert one.outcome is not None
        assert one.score == one.scores["miou"] == pytest.approx(float(one.outcome.mean()))
        assert len(one.outcome) == one.counts[2] == 2
        assert one.examples == found["chance", 0].examples
        assert one.unreadable == 1
    assert found["trained", 0].counts[:2] == (6, 2)
    assert {"lr", "decay"} == set(found["trained", 0].chosen)
    parts = lying.examples.pixels
    assert parts is not None
    train = torch.cat([parts.labels["train"](index).flatten() for index in range(8)])
    most = int(train[train != 255].bincount().argmax())
    shown = [parts.labels["test"](index) for index in (0, 2)]
    both, either = (sum(one) for one in zip(*(overlap(torch.full_like(m, most), m, 150) for m in shown), strict=True))
    there = either > 0
    assert found["chance", 0].score == pytest.approx(100 * float((both[there] / either[there]).mean()))
    facts = [lying.facts(one) for one in every]
    assert len({json.dumps(one, sort_keys=True) for one in facts}) == len(facts)


def test_depths(tmp_path: Path) -> None:
    """A model that sees pictures whose red says how far things are is nearer than the mean of all; less is better."""
    task, asked = TASKS["nyu_depth"], suite()
    lying = bed([task], images.nyu_depth(tmp_path / "data"), asked)
    every = specs(task, asked, ["trained", "untrained", "raw input", "chance", "supervised"], None, 1)
    rows = ("trained", "untrained", "raw input")
    assert [(one.row, one.probe) for one in every] == [*[(row, "depth") for row in rows], ("chance", "none")]
    found = {one.row: lying.answer(one) for one in every}
    for one in found.values():
        assert one.outcome is not None
        assert one.score == one.scores["rmse"] == pytest.approx(float(one.outcome.mean()))
        assert one.counts == (4, 1, 3)
        assert one.unreadable == 0
        assert one.examples == found["chance"].examples
    parts = lying.examples.pixels
    assert parts is not None
    assert parts.farthest == 10
    train = torch.stack([parts.labels["train"](index) for index in range(4)])
    shown = torch.stack([parts.labels["test"](index) for index in range(3)])
    mean = train[train > 0].mean()
    rmse = [float((one[one > 0] - mean).square().mean().sqrt()) for one in shown]
    assert found["chance"].score == pytest.approx(np.mean(rmse), rel=1e-4)
    facts = [lying.facts(one) for one in every]
    assert len({json.dumps(one, sort_keys=True) for one in facts}) == len(facts)
    assert facts[0]["head"] == DenseProtocol()._asdict()
    assert _job(lying, every[0], subject("image"), asked).head["higher_is_better"] is False


def test_following(tmp_path: Path) -> None:
    root = images.davis(tmp_path / "data")
    task = Task(**{**vars(TASKS["davis"]), "follow": {"height": 46, "context": 2, "radius": 3.0}})
    one, asked = subject("image"), suite(share=0.5)
    group = open_group([task], one, {"davis": str(root)}, ())
    source = tracking_of(group)
    shown = group.sources[""].train()
    lying = FollowBed(one, source, shown, facts_of(group.config), task, Most(test=1), PLACE)
    every = specs(task, asked, ["trained", "untrained", "raw input", "chance", "supervised"], None, 2)
    rows = [(spec.row, spec.seed) for spec in every]
    assert rows == [("trained", 0), ("untrained", 0), ("untrained", 1), ("raw input", 0), ("chance", 0)]
    found = {(spec.row, spec.seed): lying.answer(spec) for spec in every}
    for told in found.values():
        assert told.outcome is not None
        assert told.counts == (0, 0, 2)  # things
        assert told.score == told.scores["j_and_f"] == pytest.approx((told.scores["j"] + told.scores["f"]) / 2)
        assert told.score == pytest.approx(float(told.outcome.mean()))
    # Frames of 12 x 20 pixels: 46 rows are eleven or twelve tokens of four pixels, and as wide in proportion.
    assert lying._size("dogs") == (48, 76)
    video = source.sequence("dogs", (48, 76))
    still = follow(video.labels[:1].expand(4, -1, -1), video.labels, 2)
    assert found["chance", 0].score == pytest.approx(still.scores["jf"])
    assert len({one.score for one in found.values()}) > 2
    keys = [json.dumps(lying.facts(spec), sort_keys=True) for spec in every]
    assert len(set(keys)) == len(keys)
    with pytest.raises(UserError, match=r"follow 'contxt' is not known \(did you mean 'context'\?\)"):
        FollowBed(one, source, shown, {}, Task(**{**vars(task), "follow": {"contxt": 3}}), Most(), PLACE)


def test_a_picture_adds_to_the_miou_what_its_loss_would_cost() -> None:
    """The shares are the first order of leaving a picture out, and their mean is the mIoU."""
    from worldjepa.bench.segmentation import shares
    from worldjepa.evaluate.dense import miou

    rng = np.random.default_rng(0)
    union = torch.from_numpy(rng.integers(50, 60, (200, 4)))
    both = (union * torch.from_numpy(rng.uniform(0.3, 0.9, (200, 4)))).long()
    found = shares(both, union)
    whole = miou(both, union)
    assert float(found.mean()) == pytest.approx(whole)
    without = [miou(both[torch.arange(200) != i], union[torch.arange(200) != i]) for i in range(200)]
    jackknife = torch.tensor([200 * whole - 199 * one for one in without], dtype=torch.float64)
    assert float((found - jackknife).abs().max()) < 0.02 * float(found.std())
    assert math.isclose(float(shares(both[:, :0], union[:, :0]).sum()), 0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("cifar10", {"metric": "miou", "factor": None}, "data=cifar10 have no classes of pixels"),
        ("cifar10", {"metric": "map", "factor": None}, "data=cifar10 have no examples of several classes each"),
        ("cifar10", {"factor": "pitch"}, "the data have no factor 'pitch'; they have class"),
        (
            "cifar10",
            {"settings": {"sise": 3}},
            r"task cifar10: key 'data.sise' is not known \(did you mean 'data.size'",
        ),
    ],
)
def test_data_that_cannot_answer_are_named(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    root = images.cifar10(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        bed([Task(**{**vars(TASKS[name]), **changes})], root, suite())


def test_rows_that_there_are_not_have_a_reason() -> None:
    assert all(reason for rows in NEVER.values() for reason in rows.values())
