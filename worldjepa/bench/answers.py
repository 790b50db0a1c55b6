"""What comes of one round, and of all rounds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from worldjepa.bench.examples import Examples, Round, digest_of
from worldjepa.bench.jobs import Found


class Answer(NamedTuple):
    """Of one round."""

    scores: dict[str, float]
    chosen: dict[str, float | int | str]
    counts: tuple[int, int, int]
    outcome: Tensor | None
    """Of each test example; None where the score is made of all of them at once."""
    tested: list[tuple[str, list[int]]]
    """The test examples: of each part the indices."""
    readable: int
    """How many of all observations could be read."""


def combined(
    answers: Sequence[Answer], examples: Examples, metric: str, prints: Mapping[str, str], features: float
) -> Found:
    """The answers of all rounds as one: the mean of their scores, and their examples one after another."""
    scores = dict(answers[0].scores)
    chosen = dict(answers[0].chosen)
    if len(answers) > 1:
        scores = {
            name: sum(answer.scores[name] for answer in answers) / len(answers)
            for name in (metric, f"val_{metric}")
            if name in answers[0].scores
        }
        rounds = [(each.name, answer) for each, answer in zip(examples.rounds, answers, strict=True)]
        scores |= {f"fold/{name}": answer.scores[metric] for name, answer in rounds}
        chosen = {f"fold/{name}/{key}": value for name, answer in rounds for key, value in answer.chosen.items()}
    train, val, test = zip(*(answer.counts for answer in answers), strict=True)
    whole = sum(len(examples.parts[name]) for name in examples.parts)
    outcomes = [answer.outcome for answer in answers if answer.outcome is not None]
    return Found(
        scores[metric],
        scores,
        chosen,
        (round(sum(train) / len(answers)), round(sum(val) / len(answers)), sum(test)),
        whole - answers[0].readable,
        torch.cat(outcomes) if len(outcomes) == len(answers) else None,
        digest_of([(prints[name], indices) for answer in answers for name, indices in answer.tested]),
        features,
    )


def all_of(each: Round, examples: Examples) -> list[tuple[str, list[int]]]:
    """All examples that a round tests on."""
    return [(name, list(range(len(examples.parts[name])))) for name in each.test]
