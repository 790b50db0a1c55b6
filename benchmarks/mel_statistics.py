"""How much of an embedded set of sounds is in its mel bands, before anything is learnt; and how much could be learnt.

    python -m benchmarks.mel_statistics --data words --seeds 0 1 2

The probes of training (logistic regression, kNN), on the test split of each factor, for: mean and deviation of the mel bands
over time, the whole spectrogram, and the pooled tokens of the untrained encoder of the preset. With `--supervised STEPS` also a
small convolutional network that is trained on the headline labels of all training sounds: no bound, but a sign.
"""

from __future__ import annotations

import argparse
import statistics

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import settings
from worldjepa.data import Observations, ProbeSplits
from worldjepa.evaluate.embed import Embedded, labelled
from worldjepa.evaluate.judge import Judge
from worldjepa.evaluate.probes import accuracy, knn, logistic
from worldjepa.train.build import build_model, build_source

Row = dict[str, float]
"""Percent by `FACTOR, probe`."""


def spectrograms(observations: Observations) -> Tensor:
    """All of them, `[N, T, F]`."""
    return torch.stack([observations.observe(index)[0] for index in range(len(observations))])


def of_statistics(splits: ProbeSplits, deviation: bool) -> Row:
    """Both probes for every factor on the mean of each band over time, or on mean and deviation."""
    vectors = []
    for observations in splits:
        x = spectrograms(observations)
        std, mean = torch.std_mean(x, 1)
        vectors.append(Embedded(torch.cat([mean, std], 1) if deviation else mean, list(range(len(x)))))
    row: Row = {}
    for factor, labels in splits.test.factors.items():
        train, val, test = (labelled(x, part, factor) for x, part in zip(vectors, splits, strict=True))
        classes = len(labels.names)
        row[f"{factor}, linear"] = accuracy(logistic(train, val, classes).predict(test.x), test.y)
        row[f"{factor}, kNN"] = accuracy(knn(train, test, classes, 20, 0.07), test.y)
    return row


def of_judge(scores: dict[str, float], headline: str) -> Row:
    """The same names for the scores of a judge."""
    row: Row = {}
    for name, value in scores.items():
        parts = name.split("/")
        if parts[0] == "eval":
            factor = parts[1] if len(parts) == 3 else headline
            row[f"{factor}, {'kNN' if parts[-1].startswith('knn') else 'linear'}"] = value
    return row


def block(wide: int, out: int, stride: int) -> nn.Module:
    """A convolution of 3 x 3."""
    return nn.Sequential(nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def supervised(train: Observations, test: Observations, factor: str, steps: int) -> float:
    """Percent that a small network gets right that was trained on the labels of all training sounds."""
    torch.manual_seed(0)
    x, y = spectrograms(train), torch.from_numpy(train.factors[factor].index)
    std, mean = torch.std_mean(x, (0, 1))
    x = ((x - mean) / std)[:, None]
    blocks = [block(1, 24, 2), block(24, 48, 2), block(48, 96, 2), block(96, 96, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, len(train.factors[factor].names))]
    network = nn.Sequential(*blocks, *head)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (64,))
        shift = (int(torch.randint(-6, 7, ())), int(torch.randint(-3, 4, ())))
        loss = F.cross_entropy(network(torch.roll(x[chosen], shift, (2, 3))), y[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        guessed = network(((spectrograms(test) - mean) / std)[:, None]).argmax(1)
    return 100.0 * float((guessed.numpy() == test.factors[factor].index).mean())


def measure(data: str, seed: int, steps: int) -> dict[str, Row]:
    """All rows for one seed, which is that of the data and of the encoder."""
    words = ["modality=audio", f"data={data}", f"data.seed={seed}", "run.accelerator=cpu"]
    config = compose_config("train", words).config
    source = build_source(config)
    splits = source.probe()
    assert splits is not None
    headline = next(iter(splits.test.factors))
    judge = Judge(settings(config)[2], splits, source.train(), torch.device("cpu"))
    torch.manual_seed(seed)
    model = build_model(config, steps=1, observations=source.train())
    rows = {
        "chance": of_judge(judge.chance(), headline),
        "mean of each band": of_statistics(splits, deviation=False),
        "mean and deviation of each band": of_statistics(splits, deviation=True),
        "whole spectrogram": of_judge(judge.raw_input(), headline),
        "untrained encoder": of_judge(judge.encoder(model.target.released(model.encoder)), headline),
    }
    if steps:
        rows["convolutional network, all labels"] = {
            f"{headline}, linear": supervised(source.train(), splits.test, headline, steps)
        }
    return rows


def cell(values: list[float]) -> str:
    """Mean, lowest and highest."""
    if not values:
        return ""
    told = f"{statistics.mean(values):.1f}"
    return told if len(values) == 1 else f"{told} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="words")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--supervised", type=int, default=0, metavar="STEPS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [measure(options.data, seed, options.supervised) for seed in options.seeds]
    columns = list(found[0]["chance"])
    table = Table(title=f"{options.data}: percent right, seeds {options.seeds}")
    for heading in ("representation", *columns):
        table.add_column(heading)
    for name in found[0]:
        row = [cell([rows[name][column] for rows in found if column in rows[name]]) for column in columns]
        table.add_row(name, *row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
