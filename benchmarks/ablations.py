"""What each choice of I-JEPA is worth at toy size, one command for each, beside the paper's table.

    python -m benchmarks.ablations masks     # or targets, scale, context, depth, ema, norm
    python -m benchmarks.ablations masks --estimate
    python -m benchmarks.ablations masks --table --into benchmarks/RESULTS.md

Every row is the quick start but for the words named (`data=patterns`, one thread). The paper's rows are ImageNet with 1 % of
the labels and a ViT-B/16 after 300 epochs unless said: what to compare is the order, not the level. Rows that several commands
share are trained once. Stopped at any place, it goes on there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.efficient import publish
from benchmarks.efficient.curves import interval
from benchmarks.efficient.frozen import SHARES, measured, read, tidy, trained, untrained
from worldjepa.cli.dispatch import guarded
from worldjepa.train import allocator

TRAIN, JUDGE = 0.07, 19.0
"""Processor seconds, for the estimate only: of a step of 16, and of starting a run and judging its encoder."""


class Row(NamedTuple):
    """A choice."""

    name: str
    words: list[str]
    paper: str = ""
    """What the paper says of it, %."""
    learner: bool = False
    """Whether the encoder that learns is measured, not the one that gives the answers."""


class Ablation(NamedTuple):
    """Choices that are compared."""

    title: str
    source: str
    usual: str
    """The row of the usual choice, against which the others are held seed by seed."""
    rows: list[Row]


NORMED = ["target.normalise=true", "target.sees=all"]
"""As `target=ema` gives its answers."""


def scale(low: float, high: float, paper: str) -> Row:
    """Target blocks of this share of the image; contexts may be small, the same for all rows."""
    return Row(f"{low:g} to {high:g}", [f"masks.target_scale=[{low:g},{high:g}]", "masks.min_context=6"], paper)


def context(low: float, paper: str) -> Row:
    """A context block of at least this share of the image; it may be small once targets are cut out, in all rows."""
    return Row(f"{low:g} to 1", [f"masks.context_scale=[{low:g},1.0]", "masks.min_context=4"], paper)


ABLATIONS = {
    "masks": Ablation(
        "what is seen and what is asked",
        "table 6",
        "multi-block",
        [
            Row("multi-block", [], "54.2"),
            # On 8 x 8 patches its smallest block has 8, and it draws forever unless fewer are enough.
            Row("multi-block, official sampler", ["masks=multiblock_official", "masks.min_keep=4"], "54.2"),
            Row("random, 60 % asked", ["masks=random"], "17.6"),
            Row("one block of 60 %", ["masks=block"], "20.2"),
            Row("rasterised", ["masks=rasterised"], "15.5"),
        ],
    ),
    "targets": Ablation(
        "number of target blocks",
        "table 10",
        "4",
        [
            Row("1", ["masks.targets=1"], "9.0"),
            Row("2", ["masks.targets=2"], "22.0"),
            Row("3", ["masks.targets=3"], "48.5"),
            Row("4", [], "54.2"),
        ],
    ),
    "scale": Ablation(
        "scale of the target blocks",
        "table 8",
        "0.15 to 0.2",
        [
            scale(0.075, 0.2, "19.2"),
            scale(0.15, 0.2, "54.2"),
            scale(0.2, 0.3, "33.6"),
        ],
    ),
    "context": Ablation(
        "scale of the context block",
        "table 9",
        "0.85 to 1",
        [context(0.4, "31.2"), context(0.65, "47.1"), context(0.75, "49.3"), context(0.85, "54.2")],
    ),
    "depth": Ablation(
        "depth of the predictor",
        "table 12, ViT-L/16, 500 epochs",
        "2",
        [
            Row("1", ["predictor.depth=1"]),
            Row("2", [], "64.0 (6 blocks)"),
            Row("4", ["predictor.depth=4"], "66.9 (12 blocks)"),
        ],
    ),
    "ema": Ablation(
        "the encoder that gives the answers",
        "no table in the paper",
        "average from .99 (the quick start)",
        [
            Row("average from .99 (the quick start)", []),
            Row("average from .9", ["target.start=0.9"]),
            Row("average from .996 (the paper's)", ["target.start=0.996"]),
            Row("the encoder itself, gradient stopped", ["target=shared_detached", *NORMED]),
            # An average that never moves would be released as it began.
            Row("the encoder at its start, fixed; the one that learns is measured", ["target.start=1.0"], learner=True),
        ],
    ),
    "norm": Ablation(
        "what is predicted",
        "table 7, ViT-L/16: answers of the encoder after 500 epochs, pixels after 800",
        "representations, layer-normed",
        [
            Row("representations, layer-normed", [], "66.9"),
            Row("representations as they are", ["target.normalise=false"]),
            Row("pixels, each patch standardised", ["target=pixels"], "40.7 (pixels)"),
            Row("pixels as they are", ["target=pixels", "target.normalise=false"], "40.7 (pixels)"),
        ],
    ),
}


class Study(NamedTuple):
    """What all rows have in common."""

    out: Path
    steps: int
    batch: int

    @property
    def folder(self) -> Path:
        """Where everything is kept: rows of other lengths lie elsewhere."""
        return self.out / f"{self.steps}-steps-of-{self.batch}"

    def words(self, row: Row) -> list[str]:
        """Words of `worldjepa train`."""
        return ["data=patterns", "method=ijepa", f"run.batch_size={self.batch}", *row.words]

    def of(self, row: Row, seed: int) -> Path:
        """The run folder of a row; rows of the same words share it."""
        name = "-".join(word.translate(str.maketrans("=[],", "_   ")).replace(" ", "") for word in row.words)
        return self.folder / f"{name or 'quickstart'}-{seed}"

    def scored(self, row: Row, seed: int) -> Path:
        """The file of a row's scores."""
        return self.of(row, seed) / f"scores-{self.steps}.json"


def measure(study: Study, row: Row, seed: int) -> None:
    """Train and measure a row unless that is done."""
    folder, words = study.of(row, seed), study.words(row)
    trained(folder, words, seed, study.steps, 1)
    measured(folder, words, study.steps, row.learner)
    tidy(folder, study.steps)


def estimate(study: Study, rows: Sequence[Row], seeds: Sequence[int]) -> float:
    """Processor minutes of what is still to be done, by what such things took before."""
    missing = {study.of(row, seed) for row in rows for seed in seeds if not study.scored(row, seed).exists()}
    return len(missing) * (study.steps * study.batch / 16 * TRAIN + JUDGE) / 60


def table(study: Study, ablation: Ablation, seeds: Sequence[int]) -> Table:
    """The rows that there are, beside the paper's."""
    found = Table(
        title=f"{ablation.title}: linear probe, %, after {study.steps} steps of {study.batch}; mean (95 % interval)",
        box=MARKDOWN,
    )
    for heading in (
        "",
        *(f"{share} % of the labels" for share in SHARES),
        f"with all labels, over “{ablation.usual}” of the same seed",
        "seeds",
        "processor minutes",
        f"I-JEPA's paper ({ablation.source})",
    ):
        found.add_column(heading)
    begin = [study.folder / f"untrained-{seed}.json" for seed in seeds]
    (usual,) = (row for row in ablation.rows if row.name == ablation.usual)
    beside = [study.scored(usual, seed) for seed in seeds]
    for name, files, minutes, paper in (
        ("untrained encoder", begin, "", ""),
        *(
            (
                row.name,
                [study.scored(row, seed) for seed in seeds],
                publish.minutes_of(study.of(row, seed) for seed in seeds),
                row.paper,
            )
            for row in ablation.rows
        ),
    ):
        scores = [read(file) for file in files if file.exists()]
        cells = [interval([one[share]["test"] for one in scores]) for share in SHARES]
        pairs = [
            (read(one), read(other))
            for one, other in zip(files, beside, strict=True)
            if one.exists() and other.exists()
        ]
        more = (
            "" if name == usual.name else interval([one["100"]["test"] - other["100"]["test"] for one, other in pairs])
        )
        found.add_row(name, *cells, more, str(len(scores)), minutes, paper)
    return found


def section(what: str) -> str:
    """The name of the section for an ablation's table."""
    return f"ablation-{what}"


def main() -> int:
    """Train what is missing and print the table of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=ABLATIONS)
    parser.add_argument("--out", type=Path, default=Path("outputs/ablations"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--into", type=Path, help="Markdown file with the lines <!-- made:ablation-WHAT --> and its end"
    )
    parser.add_argument("--estimate", action="store_true", help="only say how long it will take")
    parser.add_argument("--table", action="store_true", help="train nothing, only show what there is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    study, ablation = Study(options.out, options.steps, options.batch), ABLATIONS[options.what]
    publish.check(options.into, section(options.what))
    if not options.table:
        minutes = estimate(study, ablation.rows, options.seeds)
        Console().print(
            f"about {minutes:.0f} processor minutes to go: {len(ablation.rows)} rows, seeds {options.seeds}"
        )
        if options.estimate:
            return 0
        for seed in options.seeds:
            untrained(study.folder, study.words(Row("", [])), seed)
            for row in ablation.rows:
                measure(study, row, seed)
    found = table(study, ablation, options.seeds)
    publish.show([found], 180)
    if options.into is not None:
        folders = [study.of(row, seed) for row in ablation.rows for seed in options.seeds]
        publish.publish(options.into, section(options.what), "benchmarks.ablations", [found], folders)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
