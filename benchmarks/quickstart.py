"""The quick start over several seeds: what the README's table shows.

    python -m benchmarks.quickstart --seeds 0 1 2 -- method=ijepa

Each seed is one `worldjepa train`, in a process of its own; everything after `--` is handed on to it. The seed decides
weights, order and masks; the data stay the same. Prints mean and range over seeds and writes the numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.seeds import spread, worldjepa

METRICS = {
    "eval/linear_top1": "linear %",
    "eval/knn_top1": "kNN %",
    "eval/prediction_ratio": "prediction ratio",
    "collapse/rankme": "RankMe",
}


def train(out: Path, seed: int, words: list[str]) -> dict[str, dict[str, float]]:
    """Train one seed unless its report is there already; return the scores of all rows."""
    report = out / "report.json"
    if not report.exists():
        worldjepa("train", f"seed={seed}", f"run.out={out}", "run.resume=auto", *words)
    values = json.loads(report.read_text())
    return {**values["baselines"], "trained encoder": values["trained"]}


def main() -> None:
    """Train all seeds and summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart"))
    parser.add_argument("words", nargs="*", help="handed on to worldjepa train")
    options = parser.parse_args()
    start = time.perf_counter()
    runs = [train(options.out / f"seed-{seed}", seed, options.words) for seed in options.seeds]
    table = Table(
        title=f"worldjepa train {' '.join(options.words)}: mean over seeds {options.seeds} (lowest to highest)"
    )
    table.add_column("representation")
    for heading in METRICS.values():
        table.add_column(heading, justify="right")
    for row in runs[0]:
        cells = []
        for metric in METRICS:
            values = [run[row][metric] for run in runs if metric in run[row]]
            cells.append(spread(values, 2) if values else "")
        table.add_row(row, *cells)
    gains = [run["trained encoder"]["eval/linear_top1"] - run["untrained encoder"]["eval/linear_top1"] for run in runs]
    console = Console(width=130)
    console.print(table)
    console.print(
        f"gain of the linear probe over the untrained encoder: {statistics.mean(gains):.1f} points "
        f"({', '.join(f'{gain:.1f}' for gain in gains)}); {time.perf_counter() - start:.0f} s on {platform.machine()}"
    )
    (options.out / "summary.json").write_text(
        json.dumps({"words": options.words, "seeds": options.seeds, "runs": runs}, indent=1)
    )


if __name__ == "__main__":
    main()
