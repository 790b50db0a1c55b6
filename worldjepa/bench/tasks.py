"""What a task and a suite are: files of YAML below `configs/bench`, read by the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worldjepa.evaluate.supervised import Budget

PROBES = {
    "top1": ("knn", "ridge", "logistic", "linear", "attentive", "lowshot1", "lowshot10", "finetune"),
    "recall5": ("knn", "ridge"),
    "map": ("knn", "ridge"),
    "r2": ("ridge",),
    "miou": ("segment",),
    "rmse": ("depth",),
    "j_and_f": ("propagate",),
    "success": ("plan",),
}
"""The metrics of tasks, and the probes that there are for each: the class, the class among five, several classes at once,
numbers that describe a state, the classes of pixels, how far they are, things followed through videos, and plans."""

LESS_IS_BETTER = ("rmse",)
"""The metrics that are errors; of all others more is better."""

FACTORED = ("top1", "recall5")
"""Metrics that ask for one factor of the data."""

NEVER: dict[str, dict[str, str]] = {
    "recall5": {"supervised": "the ceiling tells one class each, not five"},
    "miou": {"supervised": "no encoder is trained on classes of pixels"},
    "rmse": {"supervised": "no encoder is trained on depths"},
    "j_and_f": {"supervised": "nothing is learned"},
    "success": {"raw input": "plans need a model"},
}
"""The rows that there are not for a metric, and why."""

UNITS = {
    **dict.fromkeys(("top1", "recall5", "map", "miou", "j_and_f", "success"), "%"),
    "r2": "R²",
    "rmse": "m, less is better",
}


@dataclass(frozen=True)
class Task:
    """What is asked about which data."""

    name: str
    about: str
    """One line."""
    modality: str
    data: str
    """An option of the group `data`."""
    metric: str
    """A key of `PROBES`."""
    version: int = 1
    """Raised whenever the same model would get another number."""
    factor: str | None = None
    """Of the data's factors the one that is asked for, for the metrics of `FACTORED`."""
    probes: tuple[str, ...] = ()
    """Those of the task; by default all that there are for its metric but fine-tuning."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `data` in place of the option's own."""
    as_trained: tuple[str, ...] = ()
    """Keys of `data` that are taken from the model's training where its data had them."""
    folds: int = 0
    """How many folds the data come in, each chosen by `data.fold`; 0 where they have one split."""
    first_fold: int = 1
    """What the data call the first of them."""
    folder: str | None = None
    """What the folder of the data is called: given as `root.FOLDER=PATH`, or below `WORLDJEPA_DATA`. None needs none."""
    layout: str = ""
    """What the folder must hold."""
    extra: str | None = None
    """The extra of worldjepa that the data need, and the module that it brings: `speech: espeakng_loader`."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """For metric success: how is planned, as for `worldjepa plan`."""
    follow: Mapping[str, Any] = field(default_factory=dict)
    """For metric j_and_f: how things are followed, in place of `worldjepa.bench.following.FOLLOW`."""
    licence: str = ""
    source: str = ""
    """Where the data come from: a citation or an address."""


@dataclass(frozen=True)
class Most:
    """How many examples are used at most, spread evenly over a split; None takes all."""

    train: int | None = None
    val: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class Suite:
    """Tasks in an order, and how much is spent on them."""

    name: str
    about: str
    tasks: tuple[str, ...]
    probes: tuple[str, ...] | None = None
    """Of the probes of the tasks those that are wanted; None takes all."""
    most: Most = field(default_factory=Most)
    share: float = 1.0
    """Each seed's probe learns from this share of the training examples of every class, drawn by the seed."""
    protocols: Mapping[str, str] = field(default_factory=dict)
    """The protocols of the probes linear and attentive."""
    along: bool = False
    """Measure every saved checkpoint of a run, beside what its training had cost by then."""
    supervised: Budget | None = None
    """What the supervised ceiling may cost; None leaves it out."""
