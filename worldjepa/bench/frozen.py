"""What probes on frozen features, and chance, say of examples: classes, numbers, ranked classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from worldjepa.bench import probes, ranks
from worldjepa.bench.answers import Answer, all_of
from worldjepa.bench.examples import Examples, Round, joined, labels_of
from worldjepa.bench.jobs import Spec
from worldjepa.bench.probes import Question, Splits
from worldjepa.bench.sight import Seen, Sight
from worldjepa.bench.tasks import FACTORED, Suite, Task
from worldjepa.evaluate.lowshot import drawn
from worldjepa.evaluate.results import Split, ValueSplit, percent

Known = Callable[[str], Tensor]
"""What is known about all observations of a part."""


class Frozen:
    """The probes on one model's features.

    Args:
        sight: gives the features.
        examples: the data.
        suite: how much is spent.
        device: where probes learn.
    """

    def __init__(self, sight: Sight, examples: Examples, suite: Suite, device: torch.device) -> None:
        self.sight, self.examples, self.suite, self.device = sight, examples, suite, device

    def classes(self, spec: Spec, each: Round) -> Answer:
        """One class for each example."""
        probe = probes.CLASSES[spec.probe]
        seen = self.sight.seen(spec.row, spec.seed, probe.tokens)
        rows = self._drawn(spec, each, seen)
        views = {}
        for view in _views(seen):
            train, val, test = (self._split(spec.task, names, seen, view) for names in each[1:])
            views[view] = Splits(Split(train.x[rows], train.y[rows]), val, test)
        protocol = self.suite.protocols.get(spec.probe)
        question = Question(views, self._count(spec.task), spec.seed, protocol, self.device)
        found = probe.answer(question)
        some = next(iter(views.values()))
        counts = (len(some.train.y), len(some.val.y), len(some.test.y))
        return Answer(dict(found.scores), found.chosen, counts, found.correct, _tested(each, seen), _held(seen))

    def values(self, spec: Spec, each: Round) -> Answer:
        """Numbers for each example."""
        seen = self.sight.seen(spec.row, spec.seed, False)
        views = self._value_splits(each, seen, self.examples.values.__getitem__)
        if self.suite.share < 1:
            views = {name: self._some(splits, spec.seed) for name, splits in views.items()}
        found = probes.values(views)
        return Answer(found.scores, found.chosen, _counts(views), found.outcome, _tested(each, seen), _held(seen))

    def ranked(self, spec: Spec, each: Round) -> Answer:
        """Scores of all classes for each example."""
        task, seen = spec.task, self.sight.seen(spec.row, spec.seed, False)
        views = self._value_splits(each, seen, lambda name: self._members(task, name))
        if self.suite.share < 1 and task.metric in FACTORED:
            rows = self._drawn(spec, each, seen)
            views = {
                name: (ValueSplit(train.x[rows], train.y[rows]), val, test)
                for name, (train, val, test) in views.items()
            }
        elif self.suite.share < 1:
            views = {name: self._some(splits, spec.seed) for name, splits in views.items()}
        name, found = ranks.ranked(spec.probe, task.metric, views)
        actual = views[name][2].y
        scores = {**ranks.judged(task.metric, found.scores, actual), f"val_{task.metric}": found.val}
        outcome = ranks.outcome(task.metric, found.scores, actual)
        chosen = {"features": name, **found.chosen}
        return Answer(scores, chosen, _counts(views), outcome, _tested(each, seen), _held(seen))

    def chance(self, spec: Spec, each: Round) -> Answer:
        """What is said without a look: the most frequent classes of the training examples, or their mean."""
        task = spec.task
        train, val, test = (self.everything(task, names) for names in each[1:])
        counts, tested = (len(train), len(val), len(test)), all_of(each, self.examples)
        held = sum(map(len, self.examples.parts.values()))
        if task.metric == "r2":
            outcome = probes.told(train.mean(0).expand_as(test), test)
            return Answer({"r2": float(outcome.mean())}, {}, counts, outcome, tested, held)
        if task.metric == "top1":
            correct = test == train.bincount().argmax()
            return Answer({"top1": percent(correct)}, {}, counts, correct, tested, held)
        if task.metric in FACTORED:
            train, test = (ranks.members_of(y, self._count(task)) for y in (train, test))
        blind = ranks.said_blindly(train, len(test))
        scores, said = ranks.judged(task.metric, blind, test), ranks.outcome(task.metric, blind, test)
        return Answer(scores, {}, counts, said, tested, held)

    def everything(self, task: Task, names: Sequence[str]) -> Tensor:
        """What is known about all observations of some parts."""
        if task.metric not in FACTORED:
            return torch.cat([self.examples.values[name] for name in names])
        assert task.factor is not None
        return torch.cat([labels_of(self.examples.parts[name], task.factor) for name in names])

    def _value_splits(self, each: Round, seen: Mapping[str, Seen], known: Known) -> dict[str, ranks.Splits]:
        views = {}
        for view in _views(seen):
            splits = []
            for names in each[1:]:
                x = torch.cat([seen[name].views[view] for name in names])
                splits.append(ValueSplit(x, torch.cat([known(name)[seen[name].indices] for name in names])))
            views[view] = (splits[0], splits[1], splits[2])
        return views

    def _some(self, splits: ranks.Splits, seed: int) -> ranks.Splits:
        train, val, test = splits
        rows = part(len(train.x), self.suite.share, seed)
        return ValueSplit(train.x[rows], train.y[rows]), val, test

    def _members(self, task: Task, name: str) -> Tensor:
        """The classes that the observations of a part belong to, as numbers."""
        if task.metric not in FACTORED:
            return self.examples.values[name].float()
        assert task.factor is not None
        return ranks.members_of(labels_of(self.examples.parts[name], task.factor), self._count(task))

    def _split(self, task: Task, names: Sequence[str], seen: Mapping[str, Seen], view: str) -> Split:
        assert task.factor is not None
        x = [seen[name].views[view] for name in names]
        y = [labels_of(self.examples.parts[name], task.factor)[seen[name].indices] for name in names]
        return Split(x[0] if len(x) == 1 else torch.cat(x), torch.cat(y))

    def _drawn(self, spec: Spec, each: Round, seen: Mapping[str, Seen]) -> Tensor | slice:
        if self.suite.share == 1:
            return slice(None)
        y = [labels_of(self.examples.parts[name], str(spec.task.factor))[seen[name].indices] for name in each.train]
        return drawn(torch.cat(y), self.suite.share, spec.seed)

    def _count(self, task: Task) -> int:
        assert task.factor is not None
        return len(joined(self.examples, self.examples.rounds[0]).train.factors[task.factor].names)


def part(count: int, share: float, seed: int) -> Tensor:
    """Rows of a share of so many examples, drawn by the seed; ascending."""
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return rows[: max(1, round(share * count))].sort().values


def _views(seen: Mapping[str, Seen]) -> list[str]:
    return list(next(iter(seen.values())).views)


def _counts(views: Mapping[str, ranks.Splits]) -> tuple[int, int, int]:
    train, val, test = next(iter(views.values()))
    return len(train.y), len(val.y), len(test.y)


def _tested(each: Round, seen: Mapping[str, Seen]) -> list[tuple[str, list[int]]]:
    return [(name, seen[name].indices) for name in each.test]


def _held(seen: Mapping[str, Seen]) -> int:
    return sum(len(one.indices) for one in seen.values())
