"""The supervised ceiling: one training for all that is known about the same data, kept and shared by all models of its kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from worldjepa.bench import probes
from worldjepa.bench.encoders import Device
from worldjepa.bench.examples import Examples, Round, joined, labels_of
from worldjepa.bench.subject import Subject
from worldjepa.bench.turns import turn
from worldjepa.data.cache import home
from worldjepa.evaluate.disk import write_json
from worldjepa.evaluate.supervised import Budget, Known, Taught, supervised

ALL_OF_IT = "every label"
"""The factor under which what is learned from all of them at once is kept."""


def taught(
    subject: Subject,
    examples: Examples,
    each: Round,
    data: Mapping[str, Any],
    prints: Mapping[str, str],
    budget: Budget,
    seed: int,
    place: Device,
    note: Callable[[str], object],
) -> dict[str, Taught]:
    """What an encoder that was trained with labels says of the test examples, from disk where it was trained before.

    Args:
        subject: the model whose architecture it is.
        examples: the data.
        each: which of them are for what.
        data: what the data are.
        prints: their fingerprints.
        budget: how long is trained.
        seed: of weights and order.
        place: where.
        note: is told what takes long.
    """
    budget = budget._replace(seeds=0)  # how many seeds there are changes none of them
    facts = {
        "data": data,
        "parts": prints,
        "round": list(each),
        "encoder": subject.node,
        "budget": budget._asdict(),
        "seed": seed,
        "precision": place.precision,
        "version": probes.VERSION,
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    file = home() / "supervised" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with turn(file.with_suffix(".lock"), note):
        if not file.exists():
            note(f"training with labels, {budget.steps} steps")
            splits = joined(examples, each)
            encoder = subject.untrained(seed, splits.train)
            known = _known(examples, each)
            found = supervised(encoder, splits, known, budget, place.device, seed, place.autocast)
            write_json(file, {key: _plain(one) for key, one in found.items()})
    return {key: _taught_of(one) for key, one in json.loads(file.read_text(encoding="utf-8")).items()}


def _known(examples: Examples, each: Round) -> dict[str, Known]:
    """Everything that is known about the examples; memberships of classes are learned as numbers."""
    if examples.values:
        train, val, test = (torch.cat([examples.values[name] for name in names]) for names in each[1:])
        return {ALL_OF_IT: Known(train, val, test, 0)}
    splits = joined(examples, each)
    found = {}
    for name, labels in splits.train.factors.items():
        train, val, test = (labels_of(part, name) for part in splits)
        found[name] = Known(train, val, test, len(labels.names))
    return found


def _plain(one: Taught) -> dict[str, Any]:
    return {**one._asdict(), "predicted": one.predicted.tolist()}


def _taught_of(found: Mapping[str, Any]) -> Taught:
    return Taught(torch.tensor(found["predicted"]), list(found["indices"]), float(found["val"]), int(found["step"]))
