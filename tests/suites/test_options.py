"""The tasks and suites that are shipped fit the data that they name; mistakes in files of one's own are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from worldjepa.bench.tasks import PROBES
from worldjepa.cli import main
from worldjepa.cli.bench_data import composed
from worldjepa.cli.bench_options import read_suites, read_tasks
from worldjepa.cli.compose import compose_config, config_folder
from worldjepa.cli.options import open_library
from worldjepa.cli.usual import read_usual
from worldjepa.errors import UserError
from worldjepa.train.build import build_source

TASKS, SUITES = read_tasks([]), read_suites([])
GROUPS = open_library(config_folder(), []).groups()
USUAL = read_usual(GROUPS["modality"])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_names_data_that_there_are(name: str) -> None:
    task = TASKS[name]
    assert len(task.about) > 20
    assert task.about.endswith(".")
    assert task.licence
    usual = USUAL[task.modality]
    assert task.data in (usual.own if task.folder else usual.embedded)
    assert bool(task.folder) == bool(task.layout) == (task.data in usual.own)
    # That the file composes and can be built, tests/configs says; tests/suites/test_layouts.py builds it for the task.
    keys = OmegaConf.load(GROUPS["data"][task.data]).keys()
    assert {
        *task.settings,
        *task.as_trained,
        *(["root"] if task.folder else []),
        *(["fold"] if task.folds else []),
    } <= keys
    assert set(task.probes) <= set(PROBES[task.metric])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.factor and not task.folder])
def test_an_embedded_task_names_a_factor_that_the_data_have(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from modalities.audio.data import Textures
    from modalities.audio.words import Words
    from modalities.image import embedded as images
    from modalities.trajectory import embedded as rooms
    from modalities.video import embedded as clips

    task = TASKS[name]
    if task.data == "words":  # it would be spoken first
        assert task.factor in Words.classes
        return
    for module in (images, clips, rooms):
        monkeypatch.setattr(module, "PROBE_SIZES", {"train": 8, "val": 8, "test": 8})
    monkeypatch.setattr(Textures, "probe_sizes", {"train": 8, "val": 8, "test": 8})
    config = composed((f"modality={task.modality}", f"data={task.data}"), ())
    splits = build_source(config).probe()
    assert splits is not None
    assert task.factor in splits.test.factors


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_tasks_and_probes_that_there_are(name: str) -> None:
    suite = SUITES[name]
    assert set(suite.tasks) <= set(TASKS)
    assert len(set(suite.tasks)) == len(suite.tasks)
    assert suite.supervised is not None
    assert set(suite.probes or ()) <= {probe for task in suite.tasks for probe in TASKS[task].probes}
    if name == "embedded":
        assert not any(TASKS[task].folder for task in suite.tasks)
        assert {TASKS[task].modality for task in suite.tasks} == {"image", "video", "audio", "trajectory"}


def test_they_are_no_groups_of_a_configuration() -> None:
    assert "bench" not in GROUPS
    with pytest.raises(UserError, match="'bench' is not known"):
        compose_config("train", ["bench=embedded"])


def test_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == 0
    told = capfd.readouterr().out
    assert all(name in told for name in (*SUITES, *TASKS))
    assert main(["bench", "list", "embedded"]) == 0
    assert "moving_direction: In which of eight directions" in capfd.readouterr().out
    assert main(["bench", "list", "esc50"]) == 0
    told = capfd.readouterr().out
    assert "5 folds" in told
    assert "root.esc50=PATH" in told
    assert main(["bench", "list", "efficiency"]) == 0
    assert "measures every saved checkpoint of a run" in capfd.readouterr().out
    assert main(["bench", "list", "embeded"]) == 2
    assert "(did you mean 'embedded'?)" in capfd.readouterr().err
    assert main(["bench", "lost"]) == 2
    assert "verb of bench 'lost' is not known (did you mean 'list'?)" in capfd.readouterr().err


def test_the_files_of_the_page_are_understood(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    found = re.findall(r"^```yaml\n# file: my_configs/(\S+)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    for name, text in found:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    tasks, suite = read_tasks([tmp_path]), read_suites([tmp_path])["mine"]
    assert tasks["birds"].about == "Which of my birds a photograph shows."
    assert set(suite.tasks) <= set(tasks)


TASK = "# Mine, and nobody else's.\nmodality: image\ndata: patterns\nmetric: top1\nfactor: pattern\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TASK.replace("factor", "facto"), r"key in .*mine.yaml 'facto' is not known \(did you mean 'factor'"),
        (TASK.replace("top1", "top5"), r"metric in .*mine.yaml 'top5' is not known"),
        (TASK.replace("metric: top1\n", ""), r"mine.yaml: missing 1 required positional argument: 'metric'"),
        (TASK.replace("factor: pattern", ""), r"mine.yaml: metric top1 and recall5 ask for a factor"),
        (TASK + "version: two\n", r"mine.yaml: version=two must be"),
        (TASK + "probes: [plan]\n", "task mine: there is no probe 'plan' for metric top1"),
        ("- a list\n", "mine.yaml must hold `key: value` lines"),
        ("a: [\n", "mine.yaml: not valid YAML"),
    ],
)
def test_mistakes_in_a_task_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bench" / "task").mkdir(parents=True)
    (tmp_path / "bench" / "task" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_tasks([tmp_path])
