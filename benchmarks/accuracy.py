"""Accuracy against time, for what makes a step cheaper by altering its arithmetic: side by side with the plain recipe.

    python -m benchmarks.accuracy --seeds 0 1 2 --steps 600 --out outputs/accuracy

First a training step of every variant is timed, all in turns. Then every variant trains for as much processor time as the plain
recipe's `--steps` take, once per seed; what is in `--out` already is not done again, so an interrupted study goes on. Training
is on `data=patterns`, one thread; the score is the linear probe on frozen features, its regulariser chosen on validation data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.seeds import spread, worldjepa
from benchmarks.timing import interleaved
from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import settings, validate
from worldjepa.train import allocator
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.optim import build_optimizer
from worldjepa.types import Batch

VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "all targets in one sequence": ["predictor.joint=true"],
    "two contexts per target pass": ["masks.contexts=2"],
    "target encoder in bfloat16": ["target.low_precision=true"],
    "batch 16": ["run.batch_size=16"],
    "everything in bfloat16": ["run.precision=bf16-mixed"],
}
SCORES = {"eval/linear_top1": "linear %", "eval/knn_top1": "kNN %", "collapse/rankme": "RankMe"}


def slug(variant: str) -> str:
    """A name for a folder."""
    return variant.replace(" ", "-")


def step_of(words: list[str]) -> Callable[[], None]:
    """A whole training step of a configuration, on noise."""
    config = compose_config("train", words).config
    validate(config)
    run, optim, _ = settings(config)
    torch.manual_seed(0)
    model, sampler = build_model(config, 1), build_sampler(config)
    optimizer = build_optimizer(model, optim)
    images = torch.randint(0, 256, (run.batch_size, config.data.channels, 64, 64), dtype=torch.uint8)
    grid, rng = model.encoder.grid(images.shape[1:]), torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bf16-mixed"):
            terms = model(Batch(images, sampler(grid, run.batch_size, rng)))
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        model.target.update(model.encoder, 0)

    return step


def plan(steps: int, out: Path) -> dict[str, dict[str, float]]:
    """For every variant what a step costs and how many of them take as long as `steps` plain ones; kept in `out`."""
    file = out / "plan.json"
    if not file.exists():
        costs = interleaved({name: step_of(words) for name, words in VARIANTS.items()}, rounds=40)
        found = {
            name: {"ms": cost * 1e3, "steps": round(steps * costs["plain"] / cost)} for name, cost in costs.items()
        }
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1))
    return dict(json.loads(file.read_text()))


def train(out: Path, seed: int, steps: int, words: list[str]) -> dict[str, dict[str, float]]:
    """Train once unless the report is there; return the scores of the untrained and of the trained encoder."""
    report = out / "report.json"
    if not report.exists():
        run = [f"run.out={out}", "run.resume=auto", f"run.steps={steps}", "run.eval_every=null", "run.threads=1"]
        worldjepa("train", "method=ijepa", f"seed={seed}", *run, *words)
    values = json.loads(report.read_text())
    return {"untrained": values["baselines"]["untrained encoder"], "trained": values["trained"]}


def main() -> None:
    """Train what is missing and print the table of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600, help="of the plain recipe")
    parser.add_argument("--out", type=Path, default=Path("outputs/accuracy"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="train nothing, only show what there is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    steps = plan(options.steps, options.out)
    if not options.table:
        for seed in options.seeds:
            for name in options.variants:
                train(options.out / f"{slug(name)}-{seed}", seed, int(steps[name]["steps"]), VARIANTS[name])
    show(options.out, options.seeds, steps)


def show(out: Path, seeds: list[int], steps: dict[str, dict[str, float]]) -> None:
    """Print means and ranges over the seeds that are done."""
    table = Table(title="equal processor time: mean over seeds (lowest to highest)")
    for heading in ("variant", "step, ms", "steps", "images", "seeds", *SCORES.values(), "gain"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for name, words in VARIANTS.items():
        folders = [out / f"{slug(name)}-{seed}" for seed in seeds]
        runs = [train(folder, 0, 0, []) for folder in folders if (folder / "report.json").exists()]
        if not runs:
            continue
        cells = [spread([run["trained"][metric] for run in runs]) for metric in SCORES]
        gains = [run["trained"]["eval/linear_top1"] - run["untrained"]["eval/linear_top1"] for run in runs]
        cost = steps[name]
        batch = 16 if "run.batch_size=16" in words else 32
        row = [name, f"{cost['ms']:.1f}", f"{cost['steps']:.0f}", f"{cost['steps'] * batch:,.0f}", str(len(runs))]
        table.add_row(*row, *cells, spread(gains))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
