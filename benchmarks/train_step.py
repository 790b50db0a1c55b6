"""A training step of I-JEPA: images per second, the time of its parts, FLOPs, memory, against a plain restatement.

    python -m benchmarks.train_step --models quickstart vitt16 vits16 --precisions fp32 bf16
    python -m benchmarks.train_step --lightly lightly/bin/python
    python -m benchmarks.train_step --device cuda --models vith14 vitl16 vitb16 --precisions bf16 --compile

Contenders are processes that take turns step by step, on the same images, masks and (but for lightly) weights; medians. On a
processor the time is processor time on one thread; on a GPU wall-clock of whole steps, the parts measured in further steps
that wait for the GPU between them. `--profile` writes where the time of one of our steps goes, kernel by kernel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.contender import PARTS, Clock, Contender, Size, Work
from benchmarks.flops import Flops, count
from benchmarks.photos import PHOTOS, photograph
from benchmarks.step_worldjepa import build, model_of
from worldjepa.masks import MultiBlockOfficial
from worldjepa.types import Grid

SIZES = {
    "quickstart": Size(64, 8, 96, 4, 3, 48, 2, 32),
    "vitt16": Size(224, 16, 192, 12, 3, 192, 6, 8),
    "vits16": Size(224, 16, 384, 12, 6, 384, 6, 4),
    "vitb16": Size(224, 16, 768, 12, 12, 384, 6, 2),
    "vitl16": Size(224, 16, 1024, 24, 16, 384, 12, 2),
    "vith14": Size(224, 14, 1280, 32, 16, 384, 12, 2),
}
GPU_BATCH = {"quickstart": 1024, "vitt16": 512, "vits16": 512, "vitb16": 256, "vitl16": 128, "vith14": 128}
STEPS = 8
"""Different masks, drawn once for all contenders."""


def write_photos(folder: Path, count: int) -> list[str]:
    """Photographs of ImageNet's usual size as JPEG files."""
    paths = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        picture(PHOTOS[index % len(PHOTOS)], 500, 375).save(path, quality=90)
        paths.append(str(path))
    return paths


def picture(name: str, width: int, height: int) -> Image.Image:
    """A photograph, resized and cut to a size."""
    image = Image.fromarray(photograph(name))
    scale = max(width / image.width, height / image.height)
    image = image.resize((round(image.width * scale) + 1, round(image.height * scale) + 1), Image.Resampling.LANCZOS)
    return image.crop((0, 0, width, height))


def prepare(size: Size, precision: str, device: str, compiled: bool, folder: Path) -> Work:
    """The same work for all contenders."""
    torch.manual_seed(0)
    model, side = model_of(size), size.image // size.patch
    sampler = MultiBlockOfficial(min_keep=size.min_keep)
    draws = [sampler(Grid(1, side, side), size.batch, torch.Generator().manual_seed(step))[0] for step in range(STEPS)]
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("target.")}
    images = torch.randint(0, 256, (size.batch, 3, size.image, size.image), dtype=torch.uint8)
    return Work(
        size=size,
        images=images,
        context=[masks.context[:, 0] for masks in draws],
        target=[masks.target for masks in draws],
        weights=weights,
        photos=write_photos(folder, size.batch),
        precision=precision,
        device=device,
        compile=compiled,
    )


def race(contenders: dict[str, Contender], rounds: int, order: str) -> dict[str, list[dict[str, Any]]]:
    """Every contender's answers, a round of different masks for warming up left out."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for turn in range(STEPS + rounds):
        for name, contender in contenders.items():
            answer = contender.step(order)
            if turn >= STEPS:
                answers[name].append(answer)
            elif turn == 0:
                answers[name + " first losses"] = [answer]
            else:
                answers[name + " first losses"].append(answer)
    return answers


def rate(device: str, precision: str) -> float:
    """FLOP per second of a large matrix product in this precision: what the machine can do."""
    n = 8192 if device != "cpu" else 1536
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    clock, times = Clock(device, True), []
    for _ in range(6):
        begun = clock.now()
        a @ b
        times.append(clock.now() - begun)
    return 2 * n**3 / min(times)


def median(answers: list[dict[str, Any]], part: str | None = None) -> float:
    """Seconds of a part, or of the whole step."""
    return statistics.median(a["seconds"] if part is None else a["parts"].get(part, 0.0) for a in answers)


def mean_flops(work: Work, pruned: bool) -> Flops:
    """FLOPs of one image, averaged over the work's masks."""
    each = [
        count(work.size, seen.shape[1], *asked.shape[1:], pruned=pruned)
        for seen, asked in zip(work.context, work.target, strict=True)
    ]
    return Flops(*(statistics.mean(values) for values in zip(*each, strict=True)))


def report(console: Console, title: str, work: Work, answers: dict[str, list[dict[str, Any]]], base: float) -> None:
    """Print a table of contenders."""
    table = Table(title=title)
    for heading in ("", "img/s", "ratio", *PARTS, "GFLOP/img", "% of peak", "peak GiB", "last loss"):
        table.add_column(heading, justify="right" if heading else "left")
    fastest = rate(work.device, work.precision)
    for name in [name for name in answers if not name.endswith("losses")]:
        own, batch = answers[name], work.size.batch
        seconds = median(own)
        parts = [f"{median(own, part) * 1e3 / batch:.2f}" for part in PARTS]
        flops = mean_flops(work, pruned=name == "worldjepa").step
        used = flops * batch / seconds / fastest
        row = [name, f"{batch / seconds:.2f}", f"{base / seconds * batch:.2f}", *parts, f"{flops / 1e9:.1f}"]
        table.add_row(*row, f"{used:.0%}", f"{own[-1]['peak'] / 2**30:.2f}", f"{own[-1]['loss']:.6f}")
    console.print(table)
    console.print(f"peak: a large product at {fastest / 1e9:.0f} GFLOP/s; parts in ms per image")


def profile(work: Work, file: Path) -> None:
    """Write where the time of one of our steps goes."""
    step = build(work)
    for number in range(3):
        step(number, Clock(work.device, False))
    with torch.profiler.profile() as found:
        step(3, Clock(work.device, False))
    key = "self_cpu_time_total" if work.device == "cpu" else "self_cuda_time_total"
    file.write_text(found.key_averages().table(sort_by=key, row_limit=40))


def main() -> None:
    """Run all the races that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["quickstart", "vitt16", "vits16"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="images per step, instead of the model's own number")
    parser.add_argument("--compile", action="store_true", help="run.compile=true for ours")
    parser.add_argument("--lightly", help="Python of an environment with lightly and timm")
    parser.add_argument("--profile", type=Path, help="write a profile of our step to FILE and race nobody")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=190)
    for name in options.models:
        batch = options.batch or (SIZES[name].batch if options.device == "cpu" else GPU_BATCH[name])
        base = 0.0
        for precision in options.precisions:
            with tempfile.TemporaryDirectory() as folder:
                work = prepare(
                    SIZES[name]._replace(batch=batch), precision, options.device, options.compile, Path(folder)
                )
                if options.profile:
                    profile(work, options.profile)
                    continue
                answers = contest(work, Path(folder) / "work.pt", options.lightly, options.rounds)
                base = base or median(answers["textbook"]) / batch
                report(console, f"{name}, {precision}, batch {batch}, {options.device}", work, answers, base)
                if precision == "fp32":
                    console.print(f"losses of the first {STEPS} steps: {json.dumps(first_losses(answers))}")


def contest(work: Work, file: Path, lightly: str | None, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Let the contenders take turns."""
    work.save(file)
    scripts = {
        "textbook": (sys.executable, ["-m", "benchmarks.step_textbook"]),
        "worldjepa": (sys.executable, ["-m", "benchmarks.step_worldjepa"]),
    }
    if lightly:
        scripts["lightly"] = (lightly, [str(Path(__file__).with_name("step_lightly.py"))])
    contenders: dict[str, Contender] = {}
    try:
        for name, (python, script) in scripts.items():
            contenders[name] = Contender(python, script, file)
        answers = race(contenders, rounds, "step" if work.device == "cpu" else "whole")
        if work.device != "cpu":
            for name, contender in contenders.items():
                parts = [contender.step()["parts"] for _ in range(STEPS)]
                for answer, found in zip(answers[name], parts, strict=False):
                    answer["parts"] = found
        return answers
    finally:
        for contender in contenders.values():
            contender.close()


def first_losses(answers: dict[str, list[dict[str, Any]]]) -> dict[str, list[float]]:
    """The losses of the first steps from the same weights."""
    return {
        name.removesuffix(" first losses"): [round(a["loss"], 6) for a in found]
        for name, found in answers.items()
        if name.endswith("first losses")
    }


if __name__ == "__main__":
    main()
