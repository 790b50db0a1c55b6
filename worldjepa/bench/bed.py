"""One model on the examples of one data set: features that are computed once, and the answers of all probes over them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from worldjepa.bench import probes
from worldjepa.bench.examples import Examples, Joined, Round, digest_of
from worldjepa.bench.jobs import Found, Spec
from worldjepa.bench.probes import FOUR, LAST, RAW, TOKENS, Question, Splits
from worldjepa.bench.subject import Subject, layers_of
from worldjepa.bench.tasks import Suite, Task
from worldjepa.bench.turns import turn
from worldjepa.data import Observations, ProbeSplits
from worldjepa.data.cache import home
from worldjepa.errors import UserError
from worldjepa.evaluate import features as kept
from worldjepa.evaluate.cached import Identity, Store, weights_hash
from worldjepa.evaluate.disk import write_json
from worldjepa.evaluate.embed import Context, raw
from worldjepa.evaluate.finetune import Recipe, finetune
from worldjepa.evaluate.lowshot import drawn
from worldjepa.evaluate.results import Split, ValueSplit, percent, r2
from worldjepa.evaluate.supervised import Known, Taught, supervised
from worldjepa.interfaces import Encoder

ALL_OF_IT = "every label"
"""The factor under which what is learned from all of them at once is kept."""

TUNING = Recipe()
"""How the probe `finetune` learns."""


class Device(NamedTuple):
    """Where and how encoders run."""

    device: torch.device
    autocast: Context
    precision: str
    batch_size: int


class Seen(NamedTuple):
    """The observations of a part that could be read, in each way in which probes see them."""

    views: Mapping[str, Tensor]
    indices: list[int]


class Bed:
    """One model on the examples of one data set.

    Args:
        subject: the model.
        examples: the data.
        facts: what the data are, besides their fingerprints.
        suite: how much is spent.
        place: where and how encoders run.
        note: is told what takes long.
    """

    def __init__(
        self,
        subject: Subject,
        examples: Examples,
        facts: Mapping[str, Any],
        suite: Suite,
        place: Device,
        note: Callable[[str], object],
    ) -> None:
        self.subject, self.examples, self.suite, self.place, self.note = subject, examples, suite, place, note
        self.data_facts = dict(facts)
        self.prints = {name: part.fingerprint() for name, part in examples.parts.items()}
        self._encoders: dict[tuple[str, int], tuple[Encoder, str]] = {}
        self._seen: dict[tuple[str, int, bool], dict[str, Seen]] = {}
        self.spent = 0.0

    def facts(self, spec: Spec) -> dict[str, Any]:
        """All that decides a result."""
        task, row, probe, seed = spec
        found: dict[str, Any] = {
            "data": self.data_facts,
            "parts": self.prints,
            "rounds": [list(one) for one in self.examples.rounds],
            "task": [task.name, task.version, task.factor, task.metric],
            "row": row,
            "probe": [probe, probes.VERSION, self.suite.protocols.get(probe)],
            "share": self.suite.share,
        }
        if probe == "finetune" and row == "trained":
            found["tuning"] = TUNING._asdict()
        if row == "chance":
            return found
        found["seed"] = seed
        if row == "supervised":
            assert self.suite.supervised is not None
            budget = self.suite.supervised._replace(seeds=0)._asdict()  # how many seeds there are changes none of them
            return {**found, "encoder": self.subject.node, "budget": budget, "precision": self.place.precision}
        if row != "raw input":
            found |= {"weights": self.encoder(row, seed)[1], "encoder": self.subject.node}
            found["precision"] = self.place.precision
        return found

    def weights(self, spec: Spec) -> str | None:
        """The hash of the weights that a row is about."""
        return self.encoder(spec.row, spec.seed)[1] if spec.row in ("trained", "untrained") else None

    def encoder(self, row: str, seed: int) -> tuple[Encoder, str]:
        """The encoder of a row, and the hash of its weights."""
        if row == "trained":
            return self.subject.model.encoder, self.subject.weights
        if (row, seed) not in self._encoders:
            encoder = self.subject.untrained(seed, self._first().train)
            self._encoders = {(row, seed): (encoder, weights_hash(encoder))}
        return self._encoders[row, seed]

    def answer(self, spec: Spec) -> Found:
        """Find a result out.

        Raises:
            UserError: nothing can be read, or the features are no numbers.
        """
        self.spent = 0.0
        if spec.row == "chance":
            return self._combined(spec, self._chance)
        if spec.row == "supervised":
            return self._combined(spec, self._supervised)
        if spec.probe == "finetune":
            return self._combined(spec, self._tuned)
        if spec.task.metric == "r2":
            return self._combined(spec, self._values)
        return self._combined(spec, self._classes)

    def _combined(self, spec: Spec, one: Callable[[Spec, Round], _Answer]) -> Found:
        """The answers of all rounds as one: the mean of their scores, and their examples one after another."""
        answers = [one(spec, each) for each in self.examples.rounds]
        metric = spec.task.metric
        scores = dict(answers[0].scores)
        chosen = dict(answers[0].chosen)
        if len(answers) > 1:
            scores = {
                name: sum(answer.scores[name] for answer in answers) / len(answers)
                for name in (metric, f"val_{metric}")
                if name in answers[0].scores
            }
            rounds = [(each.name, answer) for each, answer in zip(self.examples.rounds, answers, strict=True)]
            scores |= {f"fold/{name}": answer.scores[metric] for name, answer in rounds}
            chosen = {f"fold/{name}/{key}": value for name, answer in rounds for key, value in answer.chosen.items()}
        counts = [answer.counts for answer in answers]
        tested = [place for answer in answers for place in answer.tested]
        whole = sum(len(self.examples.parts[name]) for name in self.examples.parts)
        return Found(
            scores[metric],
            scores,
            chosen,
            (
                round(sum(c[0] for c in counts) / len(counts)),
                round(sum(c[1] for c in counts) / len(counts)),
                sum(c[2] for c in counts),
            ),
            whole - answers[0].readable,
            torch.cat([answer.outcome for answer in answers]),
            digest_of([(self.prints[name], indices) for name, indices in tested]),
            self.spent,
        )

    def _classes(self, spec: Spec, each: Round) -> _Answer:
        probe = probes.CLASSES[spec.probe]
        seen = self.seen(spec.row, spec.seed, probe.tokens)
        rows = self._drawn(spec, each, seen)
        views = {}
        for view in next(iter(seen.values())).views:
            train, val, test = (self._split(spec.task, names, seen, view) for names in each[1:])
            views[view] = Splits(Split(train.x[rows], train.y[rows]), val, test)
        protocol = self.suite.protocols.get(spec.probe)
        question = Question(views, self._count(spec.task), spec.seed, protocol, self.place.device)
        found = probe.answer(question)
        some = next(iter(views.values()))
        counts = (len(some.train.y), len(some.val.y), len(some.test.y))
        return _Answer(dict(found.scores), found.chosen, counts, found.correct, self._tested(each, seen), _held(seen))

    def _values(self, spec: Spec, each: Round) -> _Answer:
        seen = self.seen(spec.row, spec.seed, False)
        known = self.examples.values
        views = {}
        for view in next(iter(seen.values())).views:
            splits = []
            for names in each[1:]:
                x = torch.cat([seen[name].views[view] for name in names])
                splits.append(ValueSplit(x, torch.cat([known[name][seen[name].indices] for name in names])))
            if self.suite.share < 1:
                rows = _part(len(splits[0].x), self.suite.share, spec.seed)
                splits[0] = ValueSplit(splits[0].x[rows], splits[0].y[rows])
            views[view] = (splits[0], splits[1], splits[2])
        found = probes.values(views)
        some = next(iter(views.values()))
        counts = (len(some[0].y), len(some[1].y), len(some[2].y))
        return _Answer(found.scores, found.chosen, counts, found.outcome, self._tested(each, seen), _held(seen))

    def _chance(self, spec: Spec, each: Round) -> _Answer:
        """What is said without a look: the most frequent class of the training examples, or their mean."""
        train, val, test = (self._everything(spec.task, names) for names in each[1:])
        counts, tested = (len(train), len(val), len(test)), self._all_of(each)
        held = sum(map(len, self.examples.parts.values()))
        if spec.task.metric == "r2":
            outcome = probes.told(train.mean(0).expand_as(test), test)
            return _Answer({"r2": float(outcome.mean())}, {}, counts, outcome, tested, held)
        correct = test == train.bincount().argmax()
        return _Answer({"top1": percent(correct)}, {}, counts, correct, tested, held)

    def _tuned(self, spec: Spec, each: Round) -> _Answer:
        assert spec.task.factor is not None
        splits = self._joined(each)
        place = self.place
        encoder = self.encoder(spec.row, spec.seed)[0].to(place.device)
        found = finetune(encoder, splits, spec.task.factor, TUNING, place.device, spec.seed, place.autocast)
        counts = (len(splits.train), len(splits.val), len(found.correct))
        if len(found.correct) != len(splits.test):
            raise UserError("fine-tuning is for data of which every test example can be read")
        held = sum(map(len, self.examples.parts.values()))
        return _Answer(dict(found.scores), found.chosen, counts, found.correct, self._all_of(each), held)

    def _supervised(self, spec: Spec, each: Round) -> _Answer:
        task = spec.task
        name = ALL_OF_IT if task.metric == "r2" else str(task.factor)
        taught = self._taught(each, spec.seed)[name]
        actual = self._everything(task, each.test)[taught.indices]
        splits = self._joined(each)
        counts = (len(splits.train), len(splits.val), len(actual))
        chosen: dict[str, float | int | str] = {"step": taught.step}
        if task.metric == "r2":
            outcome = probes.told(taught.predicted, actual)
            scores = {"r2": float(r2(taught.predicted.double(), actual.double()).mean()), "val_r2": taught.val}
        else:
            outcome = taught.predicted == actual
            scores = {"top1": percent(outcome), "val_top1": taught.val}
        tested, first = [], 0
        for part in each.test:
            end = first + len(self.examples.parts[part])
            tested.append((part, [index - first for index in taught.indices if first <= index < end]))
            first = end
        held = sum(map(len, self.examples.parts.values())) - (len(splits.test) - len(actual))
        return _Answer(scores, chosen, counts, outcome, tested, held)

    def _taught(self, each: Round, seed: int) -> dict[str, Taught]:
        """What a supervised encoder says of the test examples, from disk where it was trained before."""
        assert self.suite.supervised is not None
        budget = self.suite.supervised._replace(seeds=0)
        facts = {
            "data": self.data_facts,
            "parts": self.prints,
            "round": list(each),
            "encoder": self.subject.node,
            "budget": budget._asdict(),
            "seed": seed,
            "precision": self.place.precision,
            "version": probes.VERSION,
        }
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        file = home() / "supervised" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        with turn(file.with_suffix(".lock"), self.note):
            if not file.exists():
                self.note(f"training with labels, {budget.steps} steps")
                splits = self._joined(each)
                encoder = self.subject.untrained(seed, splits.train)
                place = self.place
                taught = supervised(encoder, splits, self._known(each), budget, place.device, seed, place.autocast)
                write_json(file, {key: _plain(one) for key, one in taught.items()})
        return {key: _taught_of(one) for key, one in json.loads(file.read_text(encoding="utf-8")).items()}

    def _known(self, each: Round) -> dict[str, Known]:
        if self.examples.values:
            train, val, test = (torch.cat([self.examples.values[name] for name in names]) for names in each[1:])
            return {ALL_OF_IT: Known(train, val, test, 0)}
        splits = self._joined(each)
        found = {}
        for name, labels in splits.train.factors.items():
            train, val, test = (_labels(part, name) for part in splits)
            found[name] = Known(train, val, test, len(labels.names))
        return found

    def seen(self, row: str, seed: int, tokens: bool) -> dict[str, Seen]:
        """The parts of the data as an encoder sees them, or as they are; those of one row and seed are held.

        Raises:
            UserError: nothing can be read, or the features are no numbers.
        """
        key = (row, 0 if row in ("trained", "raw input") else seed, tokens)
        if key not in self._seen:
            began = time.perf_counter()
            self._seen = {key: {name: self._see(part, row, seed, tokens) for name, part in self.examples.parts.items()}}
            self.spent += time.perf_counter() - began
        return self._seen[key]

    def _see(self, part: Observations, row: str, seed: int, tokens: bool) -> Seen:
        if row == "raw input":
            embedded = raw(part, list(range(len(part))), self.place.batch_size)
            return Seen({RAW: embedded.x}, embedded.indices)
        encoder, weights = self.encoder(row, seed)
        wanted = kept.TOKENS if tokens else layers_of(encoder)
        view = {key: value for key, value in self.data_facts.items() if key != "_target_"}
        identity = Identity(weights, self.subject.node, view, part.fingerprint(), self.place.precision)
        store, place = Store(), self.place
        folder, _ = store.entry(identity, wanted)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with turn(Path(f"{folder}.lock"), self.note):
            found = store.features(
                encoder.to(place.device), part, wanted, identity, place.batch_size, place.device, place.autocast
            )
        if not torch.isfinite(found.x).all():
            raise UserError(
                f"the features of the {row} encoder of {self.subject.name} are not all numbers: it has diverged"
            )
        if tokens:
            return Seen({TOKENS: found.x[:, -1]}, found.indices)
        views = {LAST: kept.layer(found.x, -1)}
        if found.x.shape[1] > 1:
            views[FOUR] = kept.side_by_side(found.x)
        return Seen(views, found.indices)

    def _split(self, task: Task, names: Sequence[str], seen: Mapping[str, Seen], view: str) -> Split:
        assert task.factor is not None
        x = [seen[name].views[view] for name in names]
        y = [_labels(self.examples.parts[name], task.factor)[seen[name].indices] for name in names]
        return Split(x[0] if len(x) == 1 else torch.cat(x), torch.cat(y))

    def _drawn(self, spec: Spec, each: Round, seen: Mapping[str, Seen]) -> Tensor | slice:
        if self.suite.share == 1:
            return slice(None)
        y = [_labels(self.examples.parts[name], str(spec.task.factor))[seen[name].indices] for name in each.train]
        return drawn(torch.cat(y), self.suite.share, spec.seed)

    def _everything(self, task: Task, names: Sequence[str]) -> Tensor:
        if task.metric == "r2":
            return torch.cat([self.examples.values[name] for name in names])
        assert task.factor is not None
        return torch.cat([_labels(self.examples.parts[name], task.factor) for name in names])

    def _count(self, task: Task) -> int:
        assert task.factor is not None
        return len(self._first().train.factors[task.factor].names)

    def _first(self) -> ProbeSplits:
        return self._joined(self.examples.rounds[0])

    def _joined(self, each: Round) -> ProbeSplits:
        sets = [[self.examples.parts[name] for name in names] for names in each[1:]]
        return ProbeSplits(*(one[0] if len(one) == 1 else Joined(one) for one in sets))

    def _tested(self, each: Round, seen: Mapping[str, Seen]) -> list[tuple[str, list[int]]]:
        return [(name, seen[name].indices) for name in each.test]

    def _all_of(self, each: Round) -> list[tuple[str, list[int]]]:
        return [(name, list(range(len(self.examples.parts[name])))) for name in each.test]


class _Answer(NamedTuple):
    """Of one round."""

    scores: dict[str, float]
    chosen: dict[str, float | int | str]
    counts: tuple[int, int, int]
    outcome: Tensor
    tested: list[tuple[str, list[int]]]
    """The test examples: of each part the indices."""
    readable: int
    """How many of all observations could be read."""


def _held(seen: Mapping[str, Seen]) -> int:
    return sum(len(one.indices) for one in seen.values())


def _labels(observations: Observations, factor: str) -> Tensor:
    return torch.from_numpy(observations.factors[factor].index).long()


def _part(count: int, share: float, seed: int) -> Tensor:
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return rows[: max(1, round(share * count))].sort().values


def _plain(one: Taught) -> dict[str, Any]:
    return {**one._asdict(), "predicted": one.predicted.tolist()}


def _taught_of(found: Mapping[str, Any]) -> Taught:
    return Taught(torch.tensor(found["predicted"]), list(found["indices"]), float(found["val"]), int(found["step"]))
