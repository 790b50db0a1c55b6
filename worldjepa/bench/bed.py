"""One model on the examples of one data set: which facts decide a result, and who finds it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from worldjepa.bench import distances, probes, ranks, segmentation
from worldjepa.bench.answers import Answer, all_of, combined
from worldjepa.bench.ceiling import ALL_OF_IT, taught
from worldjepa.bench.distances import Distances
from worldjepa.bench.encoders import LEARNED, Device, Encoders
from worldjepa.bench.examples import Examples, Round, joined
from worldjepa.bench.frozen import Frozen
from worldjepa.bench.jobs import Found, Spec
from worldjepa.bench.maps import PixelProbe
from worldjepa.bench.segmentation import Segmentation
from worldjepa.bench.sight import Sight
from worldjepa.bench.subject import Subject
from worldjepa.bench.tasks import FACTORED, Suite
from worldjepa.errors import UserError
from worldjepa.evaluate.finetune import Recipe, finetune
from worldjepa.evaluate.results import percent, r2

TUNING = Recipe()
"""How the probe `finetune` learns."""


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
        self.encoders = Encoders(subject, lambda: joined(examples, examples.rounds[0]).train)
        self.sight = Sight(self.encoders, examples.parts, facts, place, note)
        self.frozen = Frozen(self.sight, examples, suite, place.device)
        self.pixels: dict[str, PixelProbe] = {
            "miou": Segmentation(self.sight, examples, suite.share, place.device),
            "rmse": Distances(self.sight, examples, suite.share, place.device),
        }

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
        if probe in ("segment", "depth"):
            found["head"] = (segmentation if probe == "segment" else distances).HEAD._asdict()
        if row == "chance":
            return found
        found["seed"] = seed
        if row == "supervised":
            assert self.suite.supervised is not None
            budget = self.suite.supervised._replace(seeds=0)._asdict()  # how many seeds there are changes none of them
            return {**found, "encoder": self.subject.node, "budget": budget, "precision": self.place.precision}
        if row in LEARNED:
            found |= {"weights": self.encoders.weights(row, seed), "encoder": self.subject.node}
            found["precision"] = self.place.precision
        return found

    def weights(self, spec: Spec) -> str | None:
        """The hash of the weights that a row is about."""
        return self.encoders.weights(spec.row, spec.seed)

    def answer(self, spec: Spec) -> Found:
        """Find a result out.

        Raises:
            UserError: nothing can be read, or the features are no numbers.
        """
        self.sight.spent = 0.0
        ask = self._who(spec)
        answers = [ask(spec, each) for each in self.examples.rounds]
        return combined(answers, self.examples, spec.task.metric, self.prints, self.sight.spent)

    def _who(self, spec: Spec) -> Callable[[Spec, Round], Answer]:
        """Who answers a question."""
        metric = spec.task.metric
        if spec.row == "supervised":
            return self._supervised
        if metric in self.pixels:
            of = self.pixels[metric]
            return of.chance if spec.row == "chance" else of.answer
        if spec.row == "chance":
            return self.frozen.chance
        if spec.probe == "finetune":
            return self._tuned
        if metric == "r2":
            return self.frozen.values
        return self.frozen.classes if metric == "top1" else self.frozen.ranked

    def _tuned(self, spec: Spec, each: Round) -> Answer:
        assert spec.task.factor is not None
        splits = joined(self.examples, each)
        place = self.place
        encoder = self.encoders.of(spec.row, spec.seed)[0].to(place.device)
        found = finetune(encoder, splits, spec.task.factor, TUNING, place.device, spec.seed, place.autocast)
        counts = (len(splits.train), len(splits.val), len(found.correct))
        if len(found.correct) != len(splits.test):
            raise UserError("fine-tuning is for data of which every test example can be read")
        held = sum(map(len, self.examples.parts.values()))
        return Answer(dict(found.scores), found.chosen, counts, found.correct, all_of(each, self.examples), held)

    def _supervised(self, spec: Spec, each: Round) -> Answer:
        """The ceiling; memberships of classes are told as numbers, which rank the examples."""
        task, examples, place = spec.task, self.examples, self.place
        assert self.suite.supervised is not None
        # The same data may have one class each for another task: that is another training.
        data = {**self.data_facts, "labels": "several"} if task.metric == "map" else self.data_facts
        told = taught(
            *(self.subject, examples, each, data, self.prints, self.suite.supervised),
            *(spec.seed, place, self.note),
        )[str(task.factor) if task.metric in FACTORED else ALL_OF_IT]
        actual = self.frozen.everything(task, each.test)[told.indices]
        splits = joined(examples, each)
        counts = (len(splits.train), len(splits.val), len(actual))
        if task.metric == "r2":
            outcome: torch.Tensor | None = probes.told(told.predicted, actual)
            scores = {"r2": float(r2(told.predicted.double(), actual.double()).mean()), "val_r2": told.val}
        elif task.metric == "map":
            scores, outcome = ranks.judged("map", told.predicted.double(), actual), None
            scores["val_r2"] = told.val
        else:
            outcome = told.predicted == actual
            scores = {"top1": percent(outcome), "val_top1": told.val}
        tested, first = [], 0
        for part in each.test:
            end = first + len(examples.parts[part])
            tested.append((part, [index - first for index in told.indices if first <= index < end]))
            first = end
        held = sum(map(len, examples.parts.values())) - (len(splits.test) - len(actual))
        return Answer(scores, {"step": told.step}, counts, outcome, tested, held)
