"""A training over several seeds, beside chance, raw input and the untrained encoder: the quick start, or any other.

    python -m benchmarks.quickstart -- method=ijepa
    python -m benchmarks.quickstart --name video --into benchmarks/RESULTS.md -- modality=video

Each seed is one `worldjepa train` with one thread, in a process of its own; everything after `--` is handed on to it. The seed
decides weights, order and masks; the data stay the same. Stopped at any place, it goes on there. Writes the numbers as JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.efficiency import headed
from benchmarks.efficient import publish
from benchmarks.efficient.curves import interval
from benchmarks.efficient.frozen import SPENT, loaded
from benchmarks.seeds import worldjepa
from worldjepa.cli.dispatch import guarded
from worldjepa.train.folder import write_json

METRICS = {"eval/prediction_ratio": "prediction ratio", "collapse/rankme": "RankMe"}
"""Beside the probes."""
PROBES = {"linear_top1": "linear, %", "knn_top1": "kNN, %"}
TRAINED, UNTRAINED = "trained encoder", "untrained encoder"

Rows = dict[str, dict[str, float]]
"""What was measured of each representation."""


def train(out: Path, seed: int, words: Sequence[str]) -> Rows:
    """Train one seed unless its report is there already; return the scores of all rows."""
    report = out / "report.json"
    if not report.exists():
        begun = out.exists()
        spent = worldjepa("train", "run.threads=1", f"seed={seed}", f"run.out={out}", "run.resume=auto", *words)
        if not begun:
            write_json(out / SPENT, spent)
    values = loaded(report)
    return {**values["baselines"], TRAINED: values["trained"]}


def columns(runs: Sequence[Rows]) -> dict[str, str]:
    """The metrics that were measured: probes of each factor, the headline first, then the others."""
    found = {}
    for metric in runs[0][TRAINED]:
        kind, _, rest = metric.partition("/")
        factor, _, probe = rest.rpartition("/")
        if kind == "eval" and probe in PROBES:
            found[metric] = f"{factor}: {PROBES[probe]}" if factor else PROBES[probe]
    return {**found, **{metric: name for metric, name in METRICS.items() if metric in runs[0][TRAINED]}}


def scores(runs: Sequence[Rows], seeds: Sequence[int]) -> Table:
    """Means over seeds with intervals."""
    wanted = columns(runs)
    table = headed(f"mean over seeds {', '.join(map(str, seeds))} (95 % interval)", "representation", *wanted.values())
    for row in runs[0]:
        cells = []
        for metric in wanted:
            values = [run[row][metric] for run in runs if metric in run[row]]
            same = len(set(values)) == 1  # chance and raw input do not depend on seeds
            digits = 2 if metric == "eval/prediction_ratio" else 1
            cells.append(interval(values[:1] if same else values, digits))
        table.add_row(row, *cells)
    return table


def gains(runs: Mapping[int, Rows], minutes: Mapping[int, str]) -> Table:
    """How much each seed's probes gain over its own untrained encoder."""
    probes = [metric for metric in columns(list(runs.values())) if metric.endswith("_top1")]
    names = columns(list(runs.values()))
    table = headed(
        "points gained over the untrained encoder of the same seed",
        *("seed", *(names[metric].removesuffix(", %") for metric in probes), "processor minutes"),
    )
    for seed, run in runs.items():
        table.add_row(
            str(seed), *(f"{run[TRAINED][metric] - run[UNTRAINED][metric]:+.1f}" for metric in probes), minutes[seed]
        )
    return table


def main() -> int:
    """Train all seeds and summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart"))
    parser.add_argument("--into", type=Path, help="Markdown file with the lines <!-- made:NAME --> and its end")
    parser.add_argument("--name", default="quickstart", help="of the section in that file")
    parser.add_argument("words", nargs="*", help="handed on to worldjepa train")
    options = parser.parse_args()
    publish.check(options.into, options.name)
    folders = {seed: options.out / f"seed-{seed}" for seed in options.seeds}
    runs = {seed: train(folder, seed, options.words) for seed, folder in folders.items()}
    minutes = {seed: publish.minutes_of([folder]) for seed, folder in folders.items()}
    tables = [scores(list(runs.values()), options.seeds), gains(runs, minutes)]
    publish.show(tables, 180)
    if options.into is not None:
        publish.publish(options.into, options.name, "benchmarks.quickstart", tables, folders.values())
    told = [{"seed": seed, **run} for seed, run in runs.items()]
    write_json(options.out / "summary.json", {"words": options.words, "runs": told})
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
