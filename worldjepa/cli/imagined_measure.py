"""The numbers of `worldjepa imagine`: what a judge reads, and how that is told."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from worldjepa.cli.imagined_model import JUDGE, TEST, Opened, Wanted
from worldjepa.imagine.judge import educate
from worldjepa.imagine.known import Known, labelled, spread_over, wandered
from worldjepa.imagine.measure import ROWS, Pair, judged, pictures, spread
from worldjepa.imagine.rollouts import Rollouts
from worldjepa.imagine.subject import Subject
from worldjepa.report.text import points
from worldjepa.world.environment import GoalEnvironment, Simulated
from worldjepa.world.record import seeds_of

JUDGE_STEPS = 500
JUDGED = 4_000
"""Scenes that the judge learns from at most."""
ELSEWHERE = 800
"""Seed of episodes that nothing has learned from."""


def measured(subject: Subject, pair: Pair, opened: Opened, wanted: Wanted, console: Console) -> dict[str, Any] | None:
    """Judge what is imagined; None where nothing is known of the data."""
    known = known_of(subject, opened, wanted)
    if known is None:
        console.print("nothing is known of these data that a judge could read: they are drawn, not measured")
        return None
    learned, test = known
    judge = educate(learned.scenes, learned.factors, wanted.seed, JUDGE_STEPS)
    shown = pictures(pair, test.scenes, wanted.seed + TEST, opened.device)
    return {
        "trained_on": wanted.train_on,
        "scenes": len(test.scenes.picture),
        "judge_learned_from": len(learned.scenes.picture),
        "factors": judged(judge, shown, test.scenes, test.factors, wanted.radius, wanted.seed),
        "variance": spread(shown),
    }


def known_of(subject: Subject, opened: Opened, wanted: Wanted) -> tuple[Known, Known] | None:
    """Scenes of which something is known: some for the judge to learn from, some to be judged; None where there are none."""
    if isinstance(subject, Rollouts):
        world = opened.source.environment() if isinstance(opened.source, Simulated) else None
        if not isinstance(world, GoalEnvironment) or subject.repeat > 1:
            return None
        sizes = (JUDGED // 2, wanted.count)  # windows cost more than pictures
        seeds = [seeds_of(ELSEWHERE + number, range(size)) for number, size in enumerate(sizes)]
        learned, test = (wandered(subject, world, some, wanted.seed, opened.device) for some in seeds)
        return learned, test
    splits = opened.source.probe()
    if splits is None or not splits.test.factors:
        return None
    parts = ((splits.train, JUDGED, JUDGE), (splits.test, wanted.count, TEST))
    learned, test = (
        labelled(subject, part, spread_over(len(part), most), wanted.seed + seed, opened.device)
        for part, most, seed in parts
    )
    return learned, test


def table(name: str, entry: dict[str, Any]) -> Table:
    """What a judge reads of one factor."""
    numbers = entry["kind"] == "numbers"
    result = Table(title=f"{name}, read by a judge from {entry['scenes']} scenes")
    result.add_column("pictures", no_wrap=True)
    result.add_column("% within radius (95 %)" if numbers else "% right (95 %)", justify="right")
    if numbers:
        result.add_column("median error", justify="right")
    for row in ROWS:
        share = entry["share"][row]
        cells = [f"{100 * share['mean']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"]
        cells += [f"{entry['median_error'][row]:.3f}"] if numbers else []
        result.add_row(row, *cells)
    if not numbers:
        result.add_row("chance", f"{100 * entry['chance']:.1f}")
    return result


def in_words(found: dict[str, Any]) -> str:
    """What is known besides the tables."""
    lines = []
    for name, entry in found["factors"].items():
        told = ", ".join(
            f"{points(one['mean'])} often than from the {row} (p {one['p']:.4f})"
            for row, one in entry["more_than"].items()
        )
        lines.append(f"{name} is read from samples {told}")
    within, between = found["variance"]["of_samples"], found["variance"]["of_true_pictures"]
    lines.append(f"variance between samples of one prediction {within:.4f}, between true pictures {between:.4f}")
    return "\n".join(lines)
