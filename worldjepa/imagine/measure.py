"""Is what is imagined right? A judge reads decoded pictures beside true ones, and those of a control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from worldjepa.evaluate.statistics import bootstrap, paired
from worldjepa.imagine.decoders import Condition, Decoder
from worldjepa.imagine.judge import Factor, Judge
from worldjepa.imagine.subject import Decoded, Scenes

ROWS = ("truth", "samples", "regression", "batch mean")
"""What is judged: true pictures, samples from predictions, the control's, samples from the mean representation of all."""
DRAWN = 2
"""Samples that are judged of each scene."""
AT_A_TIME = 64


class Pair(NamedTuple):
    """A decoder and its control."""

    diffusion: Decoder
    control: Decoder


class Pictures(NamedTuple):
    """What is judged, `[N, S, C, H, W]`: S is 1 where nothing is drawn."""

    truth: Tensor
    samples: Tensor
    regression: Tensor
    mean: Tensor


def decode(pair: Pair, condition: Condition, count: int, rng: torch.Generator, device: torch.device) -> Decoded:
    """Draw what conditions stand for, some at a time; the results are on the CPU."""
    samples, control = [], []
    for start in range(0, len(condition.x), AT_A_TIME):
        part = condition.pick(slice(start, start + AT_A_TIME))
        here = Condition(part.x.to(device), part.where.to(device))
        samples.append(pair.diffusion.sample(here, count, rng).cpu())
        control.append(pair.control.sample(here, 1, rng)[:, 0].cpu())
    return Decoded(torch.cat(samples), torch.cat(control))


def pictures(pair: Pair, scenes: Scenes, seed: int, device: torch.device) -> Pictures:
    """What is judged of scenes."""
    rng = torch.Generator().manual_seed(seed)
    predicted = scenes.condition("predicted")
    decoded = decode(pair, predicted, DRAWN, rng, device)
    mean = Condition(predicted.x.mean(0, keepdim=True).expand_as(predicted.x), predicted.where)
    without = decode(pair, mean, 1, rng, device).samples
    return Pictures(scenes.picture[:, None], decoded.samples, decoded.control[:, None], without)


def judged(
    judge: Judge, shown: Pictures, scenes: Scenes, factors: Mapping[str, Factor], radius: float, seed: int = 0
) -> dict[str, Any]:
    """By factor: how often, or how nearly, each row is right, with 95 % intervals over scenes, and how the rows differ."""
    said = [_said(judge, part, scenes.where) for part in shown]
    found: dict[str, Any] = {}
    for name, factor in factors.items():
        actual = factor.values
        rows = dict(zip(ROWS, (one[name] for one in said), strict=True))
        if factor.classes:
            right = {row: _right(values, actual) for row, values in rows.items()}
            chance = float(actual.bincount().max()) / len(actual)
            entry: dict[str, Any] = {"kind": "classes", "classes": factor.classes, "chance": chance}
        else:
            errors = {row: (values - actual[:, None]).norm(dim=-1) for row, values in rows.items()}
            right = {row: _mean(values < radius) for row, values in errors.items()}
            medians = {row: float(values.median()) for row, values in errors.items()}
            entry = {"kind": "numbers", "radius": radius, "median_error": medians}
        entry["scenes"] = len(actual)
        entry["share"] = {row: bootstrap(values, seed=seed)._asdict() for row, values in right.items()}
        entry["more_than"] = {row: paired(right["samples"], right[row], seed=seed)._asdict() for row in ROWS[2:]}
        found[name] = entry
    return found


def spread(shown: Pictures) -> dict[str, float]:
    """Variance of the samples of one condition, mean over pixels, and that of true pictures of different scenes beside it."""
    within = shown.samples.var(1).mean() if shown.samples.shape[1] > 1 else torch.zeros(())
    return {"of_samples": float(within), "of_true_pictures": float(shown.truth.var(0, correction=0).mean())}


def _said(
    judge: Judge, shown: Float[Tensor, "N S C H W"], where: Float[Tensor, "N P"]
) -> dict[str, Shaped[Tensor, "N S ..."]]:
    n, s = shown.shape[:2]
    said = judge.tell(shown.flatten(0, 1), where.repeat_interleave(s, 0))
    return {name: values.reshape(n, s, *values.shape[1:]) for name, values in said.items()}


def _right(said: Shaped[Tensor, "N S"], actual: Shaped[Tensor, " N"]) -> NDArray[np.float64]:
    return _mean(said == actual[:, None])


def _mean(values: Shaped[Tensor, "N S"]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values.double().mean(1).numpy()
    return means
