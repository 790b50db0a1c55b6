"""What keeps a world model with a learned encoder from collapsing: every remedy alone and in pairs, as short runs in the smaze.

    python -m benchmarks.collapse           # trains and measures what is not there yet, then prints the table
    python -m benchmarks.collapse --table   # only prints

All of them are the same runs but for the terms named: squared error of 16-step rollouts, 400 steps of 32 windows. Weights
of terms are those of `objective=world_sigreg` and `world_vicreg`; none was tuned for this table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.seeds import spread, worldjepa
from worldjepa.cli.planning import HORIZONS, opened
from worldjepa.world.behaviour import Wander
from worldjepa.world.probe import encoded, fit_probe, open_loop
from worldjepa.world.record import seeds_of

WITHOUT = "objective.parts.{}.weight=0"
OF_CONTEXT = "objective.parts.1.of=context"
VARIANTS = {
    "none": [WITHOUT.format(1), WITHOUT.format(2)],
    "EMA": ["target=ema", WITHOUT.format(1), WITHOUT.format(2), OF_CONTEXT],
    "inverse dynamics": [WITHOUT.format(1)],
    "VICReg": ["objective=world_vicreg", WITHOUT.format(2)],
    "SIGReg": [WITHOUT.format(2)],
    "EMA + VICReg": ["objective=world_vicreg", "target=ema", WITHOUT.format(2), OF_CONTEXT],
    "EMA + SIGReg": ["target=ema", WITHOUT.format(2), OF_CONTEXT],
    "VICReg + inverse dynamics": ["objective=world_vicreg"],
    "SIGReg + inverse dynamics": [],
}
"""Inverse dynamics reaches the encoder through answers that carry a gradient, so there is no pair of it and an EMA."""

STATES = 2_000
EPISODES = 200
ELSEWHERE = 7_919


def measured(out: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Probe and imagination of a variant, trained and measured unless that is there."""
    folder = out / f"{name.replace(' ', '_')}-{seed}"
    file = folder / "collapse.json"
    if not file.exists():
        fixed = ["modality=trajectory", "data.layout=smaze", f"seed={seed}", f"data.seed={seed}", f"run.steps={steps}"]
        quiet = ["run.threads=1", "run.resume=auto", "run.eval_every=null", "probe.enabled=false", f"run.out={folder}"]
        worldjepa("train", *fixed, *VARIANTS[name], *quiet)
        model, _, environment, _ = opened(folder, [], [], [])
        probe = fit_probe(model, environment, seeds_of(ELSEWHERE, range(STATES)))
        errors = open_loop(model, environment, probe, Wander(), seeds_of(ELSEWHERE + 1, range(EPISODES)), HORIZONS)
        spread = encoded(model, environment.reset(seeds_of(ELSEWHERE, range(STATES)))).flatten(1).std(0).mean()
        file.write_text(json.dumps({"spread": float(spread), "r2": probe.r2, "errors": errors}))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def main() -> None:
    """Measure what is missing and print the table of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/collapse"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--table", action="store_true", help="measure nothing, only show what there is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        for seed in options.seeds:
            for name in VARIANTS:
                measured(options.out, name, seed, options.steps)
    table = Table(box=MARKDOWN)
    for heading in ("terms", "deviation", "probe R2", *(f"error after {horizon}" for horizon in HORIZONS), "seeds"):
        table.add_column(heading)
    for name in VARIANTS:
        files = [options.out / f"{name.replace(' ', '_')}-{seed}" / "collapse.json" for seed in options.seeds]
        found = [json.loads(file.read_text()) for file in files if file.exists()]
        if found:
            errors = [spread([one["errors"][str(horizon)] for one in found], 3) for horizon in HORIZONS]
            scores = [spread([one[key] for one in found], 3) for key in ("spread", "r2")]
            table.add_row(name, *scores, *errors, str(len(found)))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
