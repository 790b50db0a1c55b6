"""What a frozen encoder is worth with all labels, a tenth and a hundredth of them."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks.seeds import worldjepa
from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import validate
from worldjepa.data import ProbeSplits
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import embed, labelled
from worldjepa.evaluate.lowshot import drawn, rows_of
from worldjepa.evaluate.probes import accuracy, logistic
from worldjepa.evaluate.results import Split
from worldjepa.interfaces import Encoder
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json

SHARES = {"100": (1.0, 1), "10": (0.1, 3), "1": (0.01, 5)}
"""For each share of the labels, in percent, the share and how often it is drawn."""
SPENT = "processor_seconds.json"
"""In a run folder: what the whole command cost, where it was not cut off."""
QUIET = ["run.threads=1", "run.workers=0", "run.eval_every=null", "probe.enabled=false", "probe.max_test=64"]
"""Everything in one thread, and nothing measured on the way."""

Scores = dict[str, dict[str, float]]
"""For each share of the labels the accuracy on the test and on the validation split."""


def composed(words: Sequence[str]) -> DictConfig:
    """A configuration of `worldjepa train`."""
    config = compose_config("train", words).config
    validate(config)
    return config


def probe_of(config: DictConfig) -> ProbeSplits:
    """The labelled splits of a configuration's data."""
    splits = build_source(config).probe()
    assert splits is not None
    return splits


def probed(splits: Mapping[str, Split], classes: int) -> Scores:
    """Logistic regression on each share of the labels, means over draws.

    The penalty is chosen on the whole validation split, whatever the share, and so for everyone.
    """
    train, val, test = (splits[name] for name in ProbeSplits._fields)
    found: Scores = {}
    for name, (share, draws) in SHARES.items():
        scores = []
        for draw in range(draws):
            fitted = logistic(rows_of(train, drawn(train.y, share, draw)), val, classes)
            scores.append([accuracy(fitted.predict(split.x), split.y) for split in (test, val)])
        tests, vals = zip(*scores, strict=True)
        found[name] = {"test": statistics.mean(tests), "val": statistics.mean(vals)}
    return found


def labels_of(splits: ProbeSplits) -> tuple[dict[str, torch.Tensor], int]:
    """The labels of the headline factor for each split, and how many classes there are."""
    factor = next(iter(splits.train.factors))
    labels = {name: torch.from_numpy(split.factors[factor].index).long() for name, split in splits._asdict().items()}
    return labels, len(splits.train.factors[factor].names)


def judged(encoder: Encoder, splits: ProbeSplits) -> Scores:
    """The scores of an encoder's mean-pooled tokens."""
    factor = next(iter(splits.train.factors))
    embedded = {
        name: labelled(embed(encoder, split, list(range(len(split))), 256, torch.device("cpu")), split, factor)
        for name, split in splits._asdict().items()
    }
    return probed(embedded, len(splits.train.factors[factor].names))


def untrained(folder: Path, words: Sequence[str], seed: int) -> Scores:
    """The scores of the encoder that a run begins with, measured if they are not there."""
    file = folder / f"untrained-{seed}.json"
    if not file.exists():
        config = composed([*words, f"seed={seed}"])
        torch.manual_seed(seed)
        model = build_model(config, 1)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, judged(model.target.released(model.encoder), probe_of(config)))
    return read(file)


def trained(folder: Path, words: Sequence[str], seed: int, steps: int, marks: int) -> None:
    """Train if the report is not there; `marks` checkpoints, evenly spread, stay."""
    if (folder / "report.json").exists():
        return
    begun, every = folder.exists(), steps // marks
    saves = [f"run.steps={steps}", f"run.save_every={every}", f"run.keep_every={every}", "run.resume=auto"]
    spent = worldjepa("train", *words, f"seed={seed}", *QUIET, *saves, f"run.out={folder}")
    if not begun:
        write_json(folder / SPENT, spent)


def measured(folder: Path, words: Sequence[str], step: int, learner: bool = False) -> Scores:
    """The scores of a run's encoder after a step, measured if they are not there.

    That is the one that a run would release: the moving average, if there is one; with `learner` the one that learns.
    """
    file = folder / f"scores-{step}.json"
    if not file.exists():
        config = composed(words)
        model = build_model(config, 1)
        checkpoint.load_model(folder / "checkpoints" / checkpoint.name_of(step), model)
        encoder = model.encoder if learner else model.target.released(model.encoder)
        write_json(file, judged(encoder, probe_of(config)))
    return read(file)


def read(file: Path) -> Scores:
    """Scores that were written.

    Raises:
        UserError: the file is damaged.
    """
    found: Scores = loaded(file)
    return found


def loaded(file: Path) -> Any:
    """What a JSON file of a study holds.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}): delete it, and it is made anew") from error


def tidy(folder: Path, last: int) -> None:
    """Delete the checkpoints before the last: all that was to be measured has been."""
    for path in checkpoint.steps_in(folder / "checkpoints"):
        if path.name != checkpoint.name_of(last):
            shutil.rmtree(path)
