"""Is it learning? Probes, rank and spread of an encoder, always beside the same for raw input and an untrained encoder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from worldjepa.data import Observations, ProbeSplits
from worldjepa.evaluate.embed import Context, Embedded, embed, labelled, raw, subset
from worldjepa.evaluate.metrics import feature_std, rankme
from worldjepa.evaluate.probes import accuracy, knn, logistic
from worldjepa.evaluate.settings import ProbeSettings
from worldjepa.interfaces import Encoder
from worldjepa.jepa import JEPA, apart, together
from worldjepa.types import Batch, Masks, Tokens

Scores = dict[str, float]
"""Numbers by metric name: `eval/linear_top1`, `eval/knn_top1`, `eval/FACTOR/linear_top1`, `collapse/rankme`, …"""


class Judge:
    """Measures encoders on one data set.

    Args:
        settings: what to measure.
        splits: labelled observations, or None for data without labels: then only rank and spread are measured.
        unlabelled: observations to measure rank and spread on where there are no labels.
        device: where encoders are.
        autocast: makes the context for mixed precision.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        splits: ProbeSplits | None,
        unlabelled: Observations,
        device: torch.device,
        autocast: Context = nullcontext,
    ) -> None:
        self.settings = settings
        self.splits = splits if settings.enabled else None
        self.unlabelled = unlabelled
        self.device = device
        self.autocast = autocast
        self.unread: dict[str, int] = {}
        """How many observations of each split could not be read when an encoder was last measured."""
        self._indices = {}
        if self.splits is not None:
            most = {"train": settings.max_train, "val": settings.max_train, "test": settings.max_test}
            self._indices = {name: subset(getattr(self.splits, name), most[name]) for name in ProbeSplits._fields}

    @property
    def factors(self) -> dict[str, int]:
        """The factors that are probed and their numbers of classes; the first is the headline."""
        if self.splits is None:
            return {}
        return {name: len(labels.names) for name, labels in self.splits.train.factors.items()}

    def encoder(self, encoder: Encoder) -> Scores:
        """Probes, rank and spread of the mean-pooled tokens of a whole observation."""
        size = self.settings.batch_size

        def pooled(observations: Observations, indices: list[int]) -> Embedded:
            return embed(encoder, observations, indices, size, self.device, self.autocast)

        if self.splits is None:
            return spread(pooled(self.unlabelled, subset(self.unlabelled, self.settings.max_test)).x)
        embedded = {name: pooled(getattr(self.splits, name), rows) for name, rows in self._indices.items()}
        self.unread = {name: len(rows) - len(embedded[name].indices) for name, rows in self._indices.items()}
        return {**self._probes(embedded), **spread(embedded["train"].x)}

    def raw_input(self) -> Scores:
        """The same probes on the observations themselves."""
        if self.splits is None:
            return {}
        size = self.settings.batch_size
        return self._probes({name: raw(getattr(self.splits, name), rows, size) for name, rows in self._indices.items()})

    def chance(self) -> Scores:
        """What guessing the most frequent class of the test set would score."""
        if self.splits is None:
            return {}
        scores: Scores = {}
        for factor in self.factors:
            labels = self.splits.test.factors[factor].index[self._indices["test"]]
            most = 100.0 * float(torch.from_numpy(labels).bincount().max()) / len(labels)
            scores |= {self._name(factor, probe): most for probe in ("linear", "knn")}
        return scores

    def _probes(self, embedded: Mapping[str, Embedded]) -> Scores:
        assert self.splits is not None
        scores: Scores = {}
        for factor, classes in self.factors.items():
            train, val, test = (
                labelled(embedded[name], getattr(self.splits, name), factor) for name in ProbeSplits._fields
            )
            fitted = logistic(train, val, classes)
            scores[self._name(factor, "linear")] = accuracy(fitted.predict(test.x), test.y)
            near = knn(train, test, classes, self.settings.knn_k, self.settings.knn_temperature)
            scores[self._name(factor, "knn")] = accuracy(near, test.y)
        return scores

    def _name(self, factor: str, probe: str) -> str:
        headline = factor == next(iter(self.factors))
        return f"eval/{probe}_top1" if headline else f"eval/{factor}/{probe}_top1"


def spread(z: Tensor) -> Scores:
    """Rank and spread of embeddings."""
    return {"collapse/rankme": rankme(z), "collapse/feature_std": feature_std(z)}


@torch.no_grad()
def prediction(model: JEPA, obs: Tensor, masks: list[Masks], cond: Tokens | None = None) -> Scores:
    """How well the predictor does against predicting the mean answer of the batch.

    Only terms that depend on the prediction count: those that tell the mean from the answer itself.

    Returns:
        `eval/prediction_loss`, `eval/mean_baseline_loss` and their ratio `eval/prediction_ratio`; a ratio of 1 means that the
        predictor knows nothing about where and what it was asked. Nothing where there are no answers, as between views.
    """
    predicted, baseline = 0.0, 0.0
    batch = apart(Batch(obs, masks, cond), model.views)
    for number, (mask, found) in enumerate(zip(batch.masks, model.target(batch.obs, batch.masks), strict=True)):
        if not found.x.shape[-1]:
            return {}
        seen = model.encoder(batch.obs, keep=mask.context)
        asked = model.predictor(seen, found.pos, cond, number)
        pred, answer, context = (together(tokens, model.views) for tokens in (asked, found, seen))
        mean = Tokens(answer.x.mean((0, 1, 2), keepdim=True).expand_as(answer.x), answer.pos)
        ours = model.objective(pred, answer, context, cond)
        theirs = model.objective(mean, answer, context, cond)
        perfect = model.objective(answer, answer, context, cond)
        for name in ours:
            if not torch.equal(perfect[name], theirs[name]):
                predicted += float(ours[name])
                baseline += float(theirs[name])
    ratio = predicted / baseline if baseline > 0 else float("nan")
    return {"eval/prediction_loss": predicted, "eval/mean_baseline_loss": baseline, "eval/prediction_ratio": ratio}


class Fall(NamedTuple):
    """When rank or spread counts as fallen away."""

    rank: float = 2.0
    """RankMe below this is an alarm in any case: all samples lie on a line."""
    share: float = 0.25
    """So is RankMe below this share of the untrained encoder's."""
    std: float = 0.05
    """So is a feature standard deviation below this share of the untrained encoder's."""


FALL = Fall()


def alarm(scores: Scores, untrained: Scores, fall: Fall = FALL) -> str | None:
    """Advice if the representation has lost rank or spread, else None."""
    rank, std = scores["collapse/rankme"], scores["collapse/feature_std"]
    first_rank, first_std = untrained["collapse/rankme"], untrained["collapse/feature_std"]
    if std < fall.std * first_std:
        what = f"the features' standard deviation fell to {std:.2g} (untrained: {first_std:.2g})"
    elif rank < max(fall.rank, fall.share * first_rank):
        what = f"the rank of the features (RankMe) fell to {rank:.1f} (untrained: {first_rank:.1f})"
    else:
        return None
    return (
        f"collapse alarm: {what}. The loss can keep falling while this happens. Try a lower optim.lr, a longer warm-up, "
        "target.start closer to 1, larger target blocks, or method=ijepa_vicreg."
    )


def table(rows: Mapping[str, Scores], title: str | None = None) -> Table:
    """A table of scores: one row per encoder or baseline, one column per metric; percentages with one decimal."""
    columns = list(dict.fromkeys(name for scores in rows.values() for name in scores if _shown(name)))
    result = Table(title=title)
    result.add_column("representation", no_wrap=True)
    for name in columns:
        result.add_column(_heading(name), justify="right")
    for label, scores in rows.items():
        result.add_row(label, *(f"{scores[name]:.{_digits(name)}f}" if name in scores else "" for name in columns))
    return result


def _shown(name: str) -> bool:
    return name.endswith(("_top1", "prediction_ratio")) or name.startswith("collapse/")


def _heading(name: str) -> str:
    return (
        name.removeprefix("eval/").removeprefix("collapse/").replace("_top1", " %").replace("/", " ").replace("_", " ")
    )


def _digits(name: str) -> int:
    return 3 if name.endswith(("_std", "_ratio")) else 1
