"""Accuracy against time, samples and arithmetic: I-JEPA, MAE, data2vec 2, iBOT and LeJEPA on one processor core.

    python -m benchmarks.efficiency --estimate                  # only says how long it will take
    python -m benchmarks.efficiency                             # trains and measures what is missing, prints the tables
    python -m benchmarks.efficiency --peers peers/bin/python    # the same with lightly's and stable-pretraining's own
    python -m benchmarks.efficiency --table --picture docs/efficiency.png --into benchmarks/RESULTS.md

Encoder, data, batch and thread are the same for all, and so is the training time: first a step of every method is timed, all in
turns, with its data; then each takes as many steps as fit. Of a few learning rates each gets the one that is best on validation
data with seed 0. The environment of `--peers` is made by `python -m benchmarks.peers`. Stopped at any place, it goes on there.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.efficient import costs, outside, publish
from benchmarks.efficient.costs import Study
from benchmarks.efficient.curves import AXES, Point, interval, reached, rows, until
from benchmarks.efficient.frozen import SHARES, Scores, loaded, measured, read, tidy, trained, untrained
from benchmarks.efficient.outside import PEERS
from worldjepa.bench.curves import halfway
from worldjepa.cli.dispatch import guarded
from worldjepa.errors import UserError
from worldjepa.train import allocator
from worldjepa.train.folder import write_json

METHODS = {"I-JEPA": "ijepa", "MAE": "mae", "data2vec 2": "data2vec2", "iBOT": "ibot", "LeJEPA": "lejepa"}
RATES = (1.5e-3, 3e-3, 6e-3)
"""Once, twice and four times the quick start's."""
FURTHER = 2
"""How often the highest is doubled, or the lowest halved, at most."""
PARTS = 8
"""Into so many parts a run is cut by its checkpoints."""
MEASURED = (1, 2, 4, 8)
"""After so many of them the encoder is measured."""
START, OUTSIDE, JUDGE, PROBE = 8.0, 75.0, 13.0, 3.0
"""Processor seconds, for the estimate only: of starting a run; of starting one in the peers' environment, with its features; of
judging an encoder; of judging features that are there."""


def folder_of(study: Study, name: str, rate: float, seed: int) -> Path:
    """Where a run is kept."""
    return study.folder / f"{name.replace(' ', '-')}-{rate:g}-{seed}"


def steps_of(study: Study, name: str) -> int:
    """How many steps fit into the time, cut to whole parts."""
    return max(1, int(study.seconds * 1e3 / costs.of(study)[name]["ms"]) // PARTS) * PARTS


def parts_of(name: str) -> tuple[int, ...]:
    """The parts after which a run is measured. Ours all begin with the same encoder; another package's with its own."""
    return (0, *MEASURED) if name in PEERS else MEASURED


def run(study: Study, name: str, rate: float, seed: int, python: str) -> None:
    """Train unless it is done."""
    folder, steps = folder_of(study, name, rate, seed), steps_of(study, name)
    if name in PEERS:
        marks = [steps * part // PARTS for part in (0, *MEASURED)]
        outside.learn(study, name, python, folder, rate, seed, steps, marks)
    else:
        trained(folder, study.words(METHODS[name], rate), seed, steps, PARTS)


def scores(study: Study, name: str, rate: float, seed: int, part: int) -> Scores:
    """Of the encoder after some parts of a run, measured if they are not there."""
    folder, step = folder_of(study, name, rate, seed), steps_of(study, name) * part // PARTS
    if name in PEERS:
        return outside.measured(study, folder, step)
    return measured(folder, study.words(METHODS[name], rate), step)


def chosen_rate(study: Study, name: str, rates: Sequence[float]) -> float:
    """The learning rate that is best on validation data with seed 0, tried unless that is done.

    While the highest is the best, twice as much is tried, while the lowest is, half as much.
    """
    if len(rates) == 1:
        return rates[0]
    file = study.folder / "rates.json"
    kept: dict[str, dict[str, float]] = loaded(file) if file.exists() else {}
    if name not in kept:
        found: dict[str, float] = {}
        for rate in tries(sorted(rates), found):
            run(study, name, rate, 0, "")
            found[f"{rate:g}"] = scores(study, name, rate, 0, PARTS)["100"]["val"]
        write_json(file, {**kept, name: found})
        for rate in map(float, found):  # of those that were not chosen nothing else is asked
            if rate != best(found):
                tidy(folder_of(study, name, rate, 0), steps_of(study, name))
        return best(found)
    return best(kept[name])


def tries(rates: Sequence[float], found: dict[str, float]) -> Iterator[float]:
    """The learning rates to try, ascending ones first, then beyond the end at which the best lies; looks at what came out."""
    yield from rates
    for factor, end in ((2.0, max), (0.5, min)):
        for _ in range(FURTHER):
            last = end(map(float, found))
            if best(found) != last:
                break
            yield last * factor


def best(found: dict[str, float]) -> float:
    """The learning rate with the highest accuracy, the lower of equals."""
    return float(max(sorted(found, key=float), key=lambda rate: found[rate]))


def rate_of(study: Study, name: str, rates: Sequence[float]) -> float:
    """The learning rate of a method; another package's gets that of ours."""
    return chosen_rate(study, PEERS[name].like if name in PEERS else name, rates)


def measure(study: Study, name: str, seed: int, rates: Sequence[float], python: str) -> None:
    """Train one seed and measure it on the way."""
    rate = rate_of(study, name, rates)
    run(study, name, rate, seed, python)
    for part in parts_of(name):
        scores(study, name, rate, seed, part)
    if name not in PEERS:
        tidy(folder_of(study, name, rate, seed), steps_of(study, name))


def estimate(study: Study, names: Sequence[str], seeds: Sequence[int], rates: Sequence[float]) -> float:
    """Processor minutes of what is still to be done, by what such things took before."""
    minutes, kept = 0.0, study.folder / "rates.json"
    tried = loaded(kept) if kept.exists() else {}
    for name in names:
        if name not in PEERS and len(rates) > 1 and name not in tried:
            minutes += (len(rates) - 1) * (study.seconds + START + JUDGE) / 60
        for seed in seeds:
            done = [folder for rate in rates if (folder := folder_of(study, name, rate, seed)).exists()]
            scored = max((len(list(folder.glob("scores-*.json"))) for folder in done), default=0)
            ended = any((folder / file).exists() for folder in done for file in ("report.json", "done.json"))
            if not ended:
                minutes += (study.seconds + (OUTSIDE if name in PEERS else START)) / 60
            minutes += max(0, len(parts_of(name)) - scored) * (PROBE if name in PEERS else JUDGE) / 60
    missing = [seed for seed in seeds if not (study.folder / f"untrained-{seed}.json").exists()]
    return minutes + len(missing) * JUDGE / 60


# --- what is shown ---------------------------------------------------------------------------------------------------


def curve(study: Study, name: str, rate: float, seed: int) -> list[Point]:
    """What was measured of a run, the untrained encoder first; nothing where it is not complete."""
    folder, steps, cost = folder_of(study, name, rate, seed), steps_of(study, name), costs.of(study)[name]
    if not all((folder / f"scores-{steps * part // PARTS}.json").exists() for part in parts_of(name)):
        return []
    per_image = outside.operations(folder) if name in PEERS else sum(cost["flops"].values())

    def point(step: int, found: Scores) -> Point:
        samples = step * study.batch
        values = {share: found[share]["test"] for share in SHARES}
        return Point(step, samples, step * cost["ms"] / 1e3, samples * per_image, values)

    first = folder / "scores-0.json" if name in PEERS else study.folder / f"untrained-{seed}.json"
    at = [steps * part // PARTS for part in MEASURED]
    return [point(0, read(first)), *(point(step, read(folder / f"scores-{step}.json")) for step in at)]


def gathered(
    study: Study, names: Sequence[str], seeds: Sequence[int], rates: Sequence[float]
) -> dict[str, dict[int, list[Point]]]:
    """The curves that there are, by method and seed."""
    file = study.folder / "rates.json"
    tried = loaded(file) if file.exists() else {}
    found: dict[str, dict[int, list[Point]]] = {}
    for name in names:
        ours = PEERS[name].like if name in PEERS else name
        if name not in costs.of(study) or (len(rates) > 1 and ours not in tried):
            continue
        rate = rate_of(study, name, rates)
        there = {seed: points for seed in seeds if (points := curve(study, name, rate, seed))}
        if there:
            found[name] = there
    return found


def show(
    study: Study,
    names: Sequence[str],
    seeds: Sequence[int],
    rates: Sequence[float],
    targets: Sequence[float],
    into: Path | None = None,
) -> dict[str, dict[int, list[Point]]]:
    """Print the tables, write them into a file that has a place for them, write the curves, and return these."""
    found = gathered(study, names, seeds, rates)
    tables = [cost_table(study, found, rates)]
    if not found:
        publish.show(tables, 220)
        return found
    folders = {
        name: [folder_of(study, name, rate_of(study, name, rates), seed) for seed in runs]
        for name, runs in found.items()
    }
    tables.append(accuracy_table(found, {name: publish.minutes_of(some) for name, some in folders.items()}))
    ours = own(found)
    for place, share in enumerate(SHARES):
        ends = [[points[-1].scores[share] for points in runs.values()] for runs in ours.values()]
        begin = [points[0].scores[share] for runs in ours.values() for points in runs.values()]
        target = targets[place] if targets else halfway(begin, ends)
        tables.append(target_table(found, share, target))
    publish.show(tables, 220)
    if into is not None:
        publish.publish(into, section(study), "benchmarks.efficiency", tables, itertools.chain(*folders.values()))
    lines = [row for name, runs in found.items() for seed, points in runs.items() for row in rows(name, seed, points)]
    write_json(study.folder / "curves.json", lines)
    with (study.folder / "curves.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return found


def section(study: Study) -> str:
    """The name of the section for a study's tables."""
    return f"efficiency-{study.data}"


def own(found: dict[str, dict[int, list[Point]]]) -> dict[str, dict[int, list[Point]]]:
    """Our methods, which set the target for all; of nothing but others, those."""
    return {name: runs for name, runs in found.items() if name not in PEERS} or found


def headed(title: str, *headings: str) -> Table:
    """An empty table."""
    table = Table(title=title, box=MARKDOWN)
    for heading in headings:
        table.add_column(heading)
    return table


def cost_table(study: Study, found: dict[str, dict[int, list[Point]]], rates: Sequence[float]) -> Table:
    """What a step costs and how many were taken."""
    parts = ("student", "teacher", "predictor", "objective")
    table = headed(
        f"{study.seconds:g} s of one core, data={study.data}, batch {study.batch}; millions of operations an image",
        *("method", "learning rate", "step, ms", "of it data", *parts, "all", "steps", "images", "operations, 10^12"),
    )
    for name, cost in costs.of(study).items():
        if name not in found:
            continue
        last = next(iter(found[name].values()))[-1]
        flops = cost.get("flops")
        each = [f"{flops[part] / 1e6:.1f}" for part in parts] if flops else [""] * len(parts)
        data = f"{cost['data_ms']:.1f}" if "data_ms" in cost else ""
        table.add_row(
            *(name, f"{rate_of(study, name, rates):g}", f"{cost['ms']:.1f}", data, *each),
            f"{last.flops / last.samples / 1e6:.1f}",
            *(f"{last.step:,}", f"{last.samples:,.0f}", f"{last.flops / 1e12:.2f}"),
        )
    return table


def accuracy_table(found: dict[str, dict[int, list[Point]]], minutes: Mapping[str, str] | None = None) -> Table:
    """Accuracy at the end of the budget, and how much that is above the encoder that a run began with."""
    shares = [f"{share} % of the labels" for share in SHARES]
    table = headed(
        "linear probe, %, mean over seeds (95 % interval)",
        *("method", *shares, "gain with all labels", "seeds", "processor minutes"),
    )
    first = {seed: points[0] for runs in own(found).values() for seed, points in runs.items()}
    table.add_row("untrained encoder", *told(first.values()), "", str(len(first)), "")
    for name, runs in found.items():
        gains = [points[-1].scores["100"] - points[0].scores["100"] for points in runs.values()]
        ends = told([points[-1] for points in runs.values()])
        table.add_row(name, *ends, interval(gains), str(len(runs)), (minutes or {}).get(name, ""))
    return table


def told(points: Iterable[Point]) -> list[str]:
    """Accuracy with each share of the labels."""
    seeds = list(points)
    return [interval([point.scores[share] for point in seeds]) for share in SHARES]


def target_table(found: dict[str, dict[int, list[Point]]], share: str, target: float) -> Table:
    """What it took to reach a target."""
    table = headed(
        f"to {target:.1f} % with {share} % of the labels", "method", "seconds", "images", "operations, 10^12"
    )
    for name, runs in found.items():
        values = [[reached(points, share, target, axis) for points in runs.values()] for axis in AXES]
        values[2] = [None if value is None else value / 1e12 for value in values[2]]
        table.add_row(name, until(values[0]), until(values[1], 0), until(values[2], 2))
    return table


def draw(found: dict[str, dict[int, list[Point]]], file: Path) -> None:
    """Curves of all methods: a row for each share of the labels, a column for each axis; means over seeds, seeds thin."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(SHARES), len(AXES), figsize=(13, 10), layout="constrained", sharey="row")
    for row, share in enumerate(SHARES):
        for column, axis in enumerate(AXES):
            place = axes[row, column]
            for number, (name, runs) in enumerate(found.items()):
                lines = [[(getattr(p, axis), p.scores[share]) for p in points] for points in runs.values()]
                for line in lines:
                    place.plot(*zip(*line, strict=True), color=f"C{number}", alpha=0.25, linewidth=0.8)
                middle = [[sum(v) / len(lines) for v in zip(*pair, strict=True)] for pair in zip(*lines, strict=True)]
                place.plot(*zip(*middle, strict=True), color=f"C{number}", marker="o", markersize=3, label=name)
            place.set_xlabel({"seconds": "seconds of training", "samples": "images", "flops": "operations"}[axis])
            if column == 0:
                place.set_ylabel(f"linear probe, %, {share} % of the labels")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=9)
    figure.savefig(file, dpi=110)


def main() -> int:
    """Measure what is missing and show what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/efficiency"))
    parser.add_argument("--data", choices=costs.DATA, default="patterns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=140.0, help="of training, for each run")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="one: nothing is tried out")
    parser.add_argument("--targets", type=float, nargs=len(SHARES), default=[], help="accuracies, for 100, 10 and 1 %%")
    parser.add_argument(
        "--peers", default="", help="interpreter of the environment with lightly and stable-pretraining"
    )
    parser.add_argument("--ema", type=float, help="momentum that the peers' moving averages begin with")
    parser.add_argument("--picture", type=Path, help="write a PNG here (needs matplotlib)")
    parser.add_argument(
        "--into", type=Path, help="Markdown file with the lines <!-- made:efficiency-DATA --> and its end"
    )
    parser.add_argument("--estimate", action="store_true", help="only say how long it will take")
    parser.add_argument("--table", action="store_true", help="measure nothing, only show what there is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    study = Study(options.out, options.data, options.seconds, options.batch, options.ema)
    names: list[str] = [*options.methods, *(PEERS if options.peers or options.table else ())]
    publish.check(options.into, section(study))
    if options.peers and not options.table and shutil.which(options.peers) is None:
        raise UserError(
            f"--peers {options.peers}: there is no such program; `python -m benchmarks.peers FOLDER` makes it"
        )
    if not options.table:
        minutes = estimate(study, names, options.seeds, options.rates)
        Console().print(f"about {minutes:.0f} processor minutes to go: {len(names)} methods, seeds {options.seeds}")
        if options.estimate:
            return 0
        work(study, names, options.seeds, options.rates, options.peers)
    found = show(study, names, options.seeds, options.rates, options.targets, options.into)
    if options.picture is not None and found:
        draw(found, options.picture)
    return 0


def work(study: Study, names: Sequence[str], seeds: Sequence[int], rates: Sequence[float], python: str) -> None:
    """Measure what is missing."""
    costs.plan(study, {name: METHODS[name] for name in METHODS})
    if python:
        outside.plan(study, python)
    for seed in seeds:
        untrained(study.folder, study.words("ijepa", rates[0]), seed)
        for name in names:
            measure(study, name, seed, rates, python)


if __name__ == "__main__":
    sys.exit(guarded(main))
