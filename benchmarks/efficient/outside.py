"""Runs in another environment, by other packages, measured by our evaluator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.contender import Contender
from benchmarks.efficient import costs
from benchmarks.efficient.costs import YARDSTICK, Step, Study
from benchmarks.efficient.frozen import Scores, composed, labels_of, probe_of, probed, read
from benchmarks.efficient.peer import Job
from worldjepa.cli.validate import settings
from worldjepa.data import Observations
from worldjepa.evaluate.results import Split
from worldjepa.train.build import build_source
from worldjepa.train.folder import write_json
from worldjepa.train.schedules import plan as schedule


class Peer(NamedTuple):
    """A method of another package."""

    script: str
    method: str
    like: str
    """Ours of the same name."""


PEERS = {
    "lightly I-JEPA": Peer("peer_lightly.py", "ijepa", "I-JEPA"),
    "lightly MAE": Peer("peer_lightly.py", "mae", "MAE"),
    "stable-pretraining I-JEPA": Peer("peer_stable.py", "ijepa", "I-JEPA"),
    "stable-pretraining MAE": Peer("peer_stable.py", "mae", "MAE"),
}


def script_of(name: str) -> str:
    """The file that the other interpreter runs."""
    return str(Path(__file__).with_name(PEERS[name].script))


def job_of(study: Study, name: str, out: Path, rate: float, seed: int, steps: int, marks: list[int]) -> Job:
    """What is asked of another package: the sizes, the images and the schedule of ours; no steps to be timed only."""
    ours = study.words(PEERS[name].method, rate)
    config = composed([*ours, f"run.steps={max(1, steps)}"])
    run, optim, _ = settings(config)
    times = schedule(run, optim, samples=config.data.count, processes=1)
    encoder, predictor = config.arch.encoder, config.arch.predictor
    return Job(
        method=PEERS[name].method,
        data=str(images_of(study)),
        out=str(out),
        patch=config.arch.patch,
        dim=config.arch.dim,
        depth=encoder.depth,
        heads=encoder.heads,
        predictor_dim=predictor.dim,
        predictor_depth=predictor.depth,
        predictor_heads=predictor.heads,
        batch=study.batch,
        seed=seed,
        weight_decay=optim.weight_decay,
        rates=[times.lr(step) for step in range(steps)],
        marks=marks,
        ema=study.ema,
    )


def images_of(study: Study) -> Path:
    """The file of the images that all learn from and are judged on, written if it is not there."""
    file = study.folder / "images.npz"
    if not file.exists():
        config = composed(study.words("ijepa", 1e-3))
        splits = probe_of(config)._asdict()
        arrays = {"images": build_source(config).train(), **splits}
        study.folder.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}")
        with aside.open("wb") as stream:
            np.savez(stream, **{name: array_of(observations) for name, observations in arrays.items()})
        aside.replace(file)
    return file


def array_of(observations: Observations) -> np.ndarray:
    """All evaluation views, uint8 `[N, C, H, W]`."""
    return np.stack([np.asarray(observations.observe(index)) for index in range(len(observations))])


def plan(study: Study, python: str) -> None:
    """Time a step of each, in turns with ours, unless that is done."""
    missing = [name for name in PEERS if name not in costs.of(study)]
    if not missing:
        return
    children: dict[str, Contender] = {}
    try:
        for name in missing:
            file = study.folder / f"timing-{PEERS[name].script}-{PEERS[name].method}.json"
            images_of(study)
            job_of(study, name, study.folder, 1e-3, 0, 0, []).save(file)
            children[name] = Contender(python, [script_of(name)], file)
        work: dict[str, costs.Seconds] = {YARDSTICK: Step(study, "ijepa").whole}
        for name, child in children.items():
            work[name] = lambda child=child: float(child.step()["seconds"])
        found = costs.in_turns(work)
    finally:
        for child in children.values():
            child.close()
    scale = costs.of(study)[YARDSTICK]["ms"] / found[YARDSTICK]  # as busy as the machine was then
    costs.keep(study, {name: {"ms": found[name] * scale} for name in missing})


def learn(
    study: Study, name: str, python: str, folder: Path, rate: float, seed: int, steps: int, marks: list[int]
) -> None:
    """Train unless it is done; one that was cut off begins anew."""
    if (folder / "done.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    job_of(study, name, folder, rate, seed, steps, marks).save(folder / "job.json")
    subprocess.run([python, script_of(name), str(folder / "job.json")], check=True)


def measured(study: Study, folder: Path, step: int) -> Scores:
    """The scores of a frozen encoder's features, measured if they are not there."""
    file = folder / f"scores-{step}.json"
    if not file.exists():
        arrays = np.load(folder / f"features-{step}.npz")
        labels, classes = labels_of(probe_of(composed(study.words("ijepa", 1e-3))))
        splits = {name: Split(torch.from_numpy(arrays[name]), y) for name, y in labels.items()}
        write_json(file, probed(splits, classes))
    return read(file)


def operations(folder: Path) -> float:
    """Of a training step, one image's share, as they were counted in the other environment."""
    return float(json.loads((folder / "done.json").read_text())["flops"])
