"""From a task to examples: where its data lie, whether they are there, and how the model sees them."""

from __future__ import annotations

import copy
import functools
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from worldjepa.bench.examples import SPLIT, Examples, Pixels, States, fold_rounds, some
from worldjepa.bench.subject import Subject
from worldjepa.bench.tasks import FACTORED, Most, Suite, Task
from worldjepa.cli.compose import compose_config
from worldjepa.cli.embedding import as_seen, has
from worldjepa.cli.validate import validate
from worldjepa.data import DataSource, Observations, ProbeSplits
from worldjepa.data.pixels import Ranged, Segmented, Tracking
from worldjepa.data.tags import TaggedSource
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import subset
from worldjepa.train.build import build_source
from worldjepa.train.identity import ELSEWHERE
from worldjepa.world.environment import GoalEnvironment, Simulated

VARIABLE = "WORLDJEPA_DATA"
STATES = {"train": 1_200, "val": 300, "test": 600}
"""States of an environment in each split."""


def absent_extra(task: Task) -> str | None:
    """What to install for the data of a task; None where nothing is missing."""
    extra, _, module = (task.extra or "").partition(":")
    if not extra or importlib.util.find_spec(module.strip()) is not None:
        return None
    return f"pip install 'worldjepa[{extra.strip()}]'"


def folder_of(task: Task, roots: Mapping[str, str]) -> Path | None:
    """The folder with the data of a task; None where it needs none.

    Raises:
        UserError: there is no such folder; the message says how it is given and what it must hold.
    """
    if task.folder is None:
        return None
    given, base = roots.get(task.folder), os.environ.get(VARIABLE)
    if given is not None:
        folder = Path(given).expanduser()
        if folder.is_dir():
            return folder
        raise UserError(f"task {task.name}: root.{task.folder}={given} is no folder; it must hold {task.layout}")
    if base and (Path(base).expanduser() / task.folder).is_dir():
        return Path(base).expanduser() / task.folder
    raise UserError(
        f"task {task.name} needs data: give root.{task.folder}=FOLDER, or put the folder in ${VARIABLE}/{task.folder}; "
        f"it must hold {task.layout}"
    )


class Group(NamedTuple):
    """Tasks that are about the same examples."""

    tasks: list[Task]
    sources: dict[str, DataSource]
    """By fold; one without a name where there are none."""
    config: DictConfig
    """Of the first."""


def grouped(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks about the same examples together, in the order of the first of each."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        about = (task.data, dict(task.settings), task.as_trained, task.folder, task.folds, task.metric in FACTORED)
        alone = task.metric in ("success", "j_and_f")
        kind = task.metric if task.metric not in FACTORED else ""
        found.setdefault(task.name if alone else f"{about} {kind}", []).append(task)
    return list(found.values())


def open_group(tasks: list[Task], subject: Subject, roots: Mapping[str, str], config_dirs: Sequence[Path]) -> Group:
    """Build the data sources of tasks, which checks their folders.

    Raises:
        UserError: the data are not as they must be, or do not fit the model.
    """
    task = tasks[0]
    folder = folder_of(task, roots)
    sources, configs = {}, []
    for fold in [str(task.first_fold + one) for one in range(task.folds)] or [""]:
        try:
            config = _config(task, subject, folder, fold, config_dirs)
            sources[fold] = build_source(config)
        except UserError as error:
            raise UserError(f"task {task.name}: {error}") from error
        configs.append(config)
    return Group(tasks, sources, configs[0])


def _config(task: Task, subject: Subject, folder: Path | None, fold: str, config_dirs: Sequence[Path]) -> DictConfig:
    """The configuration of a task's data, seen as the model saw those of its training."""
    given: dict[str, Any] = dict(task.settings)
    given |= {"root": str(folder)} if folder is not None else {}
    given |= {"fold": int(fold)} if fold else {}
    words = [f"modality={task.modality}", f"data={task.data}"]
    listed = composed(tuple(words), tuple(config_dirs))
    # A composition takes half a second: what its files list is set afterwards, so that tasks and folds share one.
    words += [f"data.{key}={_written(value)}" for key, value in given.items() if key not in listed.data]
    config = copy.deepcopy(composed(tuple(words), tuple(config_dirs)))
    trained = subject.data or {}
    implied = {f"data.{key}": trained[key] for key in task.as_trained if key in trained}
    seen = {**as_seen(subject.model, config), **implied}
    for key, value in {**seen, **{f"data.{key}": value for key, value in given.items()}}.items():
        if has(config, key):
            OmegaConf.update(config, key, value)
    validate(config)
    return config


@functools.lru_cache(maxsize=64)
def composed(words: tuple[str, ...], config_dirs: tuple[Path, ...]) -> DictConfig:
    """A composition, the same for all models."""
    return compose_config("train", words, config_dirs).config


def _written(value: Any) -> str:
    if value is None:
        return "null"
    return "'" + value.replace("'", r"\'") + "'" if isinstance(value, str) else str(value)


def facts_of(config: DictConfig) -> dict[str, Any]:
    """How the data are made and seen, without where they lie."""
    data = cast(dict[str, Any], OmegaConf.to_container(config.data, resolve=True))
    return {key: value for key, value in data.items() if f"data.{key}" not in ELSEWHERE}


def examples_of(group: Group, suite: Suite) -> Examples:
    """The examples of a group of tasks, at most as many as the suite says.

    Raises:
        UserError: the data have no labels, not the factor that is asked for, or no states.
    """
    task = group.tasks[0]
    if task.metric in _OTHERS:
        return _OTHERS[task.metric](group, suite.most)
    splits = {}
    for fold, source in group.sources.items():
        probe = source.probe()
        if probe is None:
            raise UserError(f"task {task.name}: data={task.data} have no labels here; it must hold {task.layout}")
        splits[fold] = probe
    for one in group.tasks:
        factors = next(iter(splits.values())).train.factors
        if one.factor not in factors:
            raise UserError(f"task {one.name}: the data have no factor '{one.factor}'; they have {', '.join(factors)}")
    if task.folds:
        parts = {fold: some(probe.test, suite.most.test) for fold, probe in splits.items()}
        return Examples(parts, fold_rounds(list(parts)), {})
    most = vars(suite.most)
    return Examples({name: some(getattr(splits[""], name), most[name]) for name in ProbeSplits._fields}, (SPLIT,), {})


def _states(group: Group, most: Most) -> Examples:
    task = group.tasks[0]
    source = _only(group)
    environment = source.environment() if isinstance(source, Simulated) else None
    if not isinstance(environment, GoalEnvironment):
        raise UserError(f"task {task.name}: data={task.data} come from no environment whose state is known")
    parts: dict[str, States] = {}
    first = 0
    for name, count in STATES.items():
        wanted = vars(most)[name]
        parts[name] = States(environment, first, count if wanted is None else min(count, wanted))
        first += count
    return Examples(parts, (SPLIT,), {name: torch.from_numpy(part.states) for name, part in parts.items()})


def _tags(group: Group, most: Most) -> Examples:
    task, parts, values = group.tasks[0], {}, {}
    for fold, source in group.sources.items():
        if not isinstance(source, TaggedSource):
            raise UserError(f"task {task.name}: data={task.data} have no examples of several classes each")
        for name, one in source.tagged()._asdict().items():
            if task.folds and name != "test":
                continue  # each fold is for testing once
            rows = subset(one.files, vars(most)[name])
            part = fold if task.folds else name
            parts[part] = some(one.files, vars(most)[name])
            values[part] = torch.from_numpy(one.members[rows]).float()
    return Examples(parts, fold_rounds(list(parts)) if task.folds else (SPLIT,), values)


def _pixels(group: Group, most: Most) -> Examples:
    task, source = group.tasks[0], _only(group)
    if not isinstance(source, Segmented):
        raise UserError(f"task {task.name}: data={task.data} have no classes of pixels")
    splits = source.pixels()._asdict()
    labels = {name: _some(one.labels, subset(one, vars(most)[name])) for name, one in splits.items()}
    return _mapped(splits, most, Pixels(labels, classes=source.pixel_classes))


def _depths(group: Group, most: Most) -> Examples:
    task, source = group.tasks[0], _only(group)
    if not isinstance(source, Ranged):
        raise UserError(f"task {task.name}: data={task.data} do not say how far pixels are")
    splits = source.depths()._asdict()
    depths = {name: _some(one.depth, subset(one, vars(most)[name])) for name, one in splits.items()}
    return _mapped(splits, most, Pixels(depths, farthest=source.farthest))


def _mapped(splits: Mapping[str, Observations], most: Most, pixels: Pixels) -> Examples:
    return Examples({name: some(one, vars(most)[name]) for name, one in splits.items()}, (SPLIT,), {}, pixels)


def _some(known: Callable[[int], Tensor], rows: Sequence[int]) -> Callable[[int], Tensor]:
    return lambda index: known(rows[index])


def tracking_of(group: Group) -> Tracking:
    """The videos of a task.

    Raises:
        UserError: the data have none in which things are followed.
    """
    source = _only(group)
    if not isinstance(source, Tracking):
        task = group.tasks[0]
        raise UserError(f"task {task.name}: data={task.data} have no videos in which things are followed")
    return source


def _only(group: Group) -> DataSource:
    (source,) = group.sources.values()
    return source


_OTHERS: dict[str, Callable[[Group, Most], Examples]] = {
    "r2": _states,
    "map": _tags,
    "miou": _pixels,
    "rmse": _depths,
}
"""What makes the examples of metrics that ask for no factor."""
