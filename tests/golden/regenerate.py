"""Writes the losses that toy runs of every method on every modality must go on giving.

Run it where a change of the numbers is meant, and say in the change why:

    python tests/golden/regenerate.py                        # all of them
    python tests/golden/regenerate.py ijepa-image            # one
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).resolve().parent
CONFIGS = FOLDER.parents[1] / "configs"

ROOMS = [
    *("data=rooms", "data.episodes=20", "data.steps=12", "data.horizon=4", "data.size=16", "data.layout=smaze"),
]

TOY = {
    "image": [
        "preset=quickstart",
        *("data=patterns", "data.count=128", "data.size=32"),
        *("arch=quickstart", "arch.patch=4", "arch.dim=24", "arch.encoder.depth=2", "arch.encoder.heads=2"),
        *("arch.predictor.dim=24", "arch.predictor.depth=2", "arch.predictor.heads=2"),
    ],
    "video": [
        "preset=quickstart_video",
        *("data=moving", "data.count=32", "data.size=32", "data.frames=4", "data.length=8"),
        "data.decoder=pyav",  # libraries differ by a rounding when they turn colours into RGB
        *("arch=quickstart_video", "arch.patch=4", "arch.dim=24", "arch.encoder.depth=2", "arch.encoder.heads=2"),
        *("arch.predictor.dim=24", "arch.predictor.depth=2", "arch.predictor.heads=2"),
    ],
    "audio": [
        "preset=quickstart_audio",
        *("data=textures", "data.count=128", "data.frames=32"),
        *("arch=quickstart", "arch.dim=24", "arch.encoder.depth=2", "arch.encoder.heads=2"),
        *("arch.predictor.dim=24", "arch.predictor.depth=2", "arch.predictor.heads=2"),
    ],
    "trajectory": [
        "preset=quickstart_rooms",
        *ROOMS,
        *(
            "arch=conv_frames",
            "arch.dim=8",
            "arch.size=16",
            "arch.predictor.dim=24",
            "arch.predictor.depth=1",
            "arch.predictor.heads=2",
        ),
    ],
}
"""For each modality, the words that make a run small."""

ACTING = ("world_frozen", "world_sigreg", "world_vicreg", "vjepa2_ac")
"""The methods that need actions: they are tried with trajectories, and the others with all else."""

VIEWED = ("ibot", "lejepa", "vicreg")
"""The methods that need several views of an observation: they are tried with images alone."""

SMALL = {
    "ijepa": ["masks.min_context=4"],
    "ijepa_vicreg": ["masks.min_context=4"],
    "data2vec2": ["predictor.groups=4", "masks.contexts=2"],
    "vicreg": ["predictor.hidden=32", "predictor.dim=32"],
    "lejepa": ["predictor.hidden=32", "objective.parts.1.directions=32"],
    "ibot": ["predictor.hidden=32", "predictor.bottleneck=16", "predictor.prototypes=64"],
}
"""For each method, what makes its masks fit small grids, and what makes its own parts small."""

INSTEAD = {
    "vjepa2_ac": [
        *("preset=quickstart_rooms", *ROOMS, "data.proprioception=true"),
        *("arch=ac_tiny_frames", "arch.dim=24", "arch.encoder.encoder.depth=1", "arch.encoder.encoder.heads=2"),
        *("arch.predictor.dim=24", "arch.predictor.depth=1", "arch.predictor.heads=2"),
    ],
}
"""For methods with an encoder of their own kind, the words that take the place of their modality's."""

RUN = [
    *("seed=0", "run.steps=20", "run.batch_size=8", "run.log_every=1", "run.accelerator=cpu"),
    *(
        "run.precision=32-true",
        "run.threads=1",
        "run.workers=0",
        "run.tensorboard=false",
        "run.report=false",
        "probe.enabled=false",
    ),
]


def cases() -> list[str]:
    """Every method with every modality that it fits, as `METHOD-MODALITY`."""
    methods, modalities = (
        sorted(file.stem for file in (CONFIGS / group).glob("*.yaml")) for group in ("method", "modality")
    )
    fits = [(m, n) for m in methods for n in modalities if n in takes(m, modalities)]
    return [f"{method}-{modality}" for method, modality in fits]


def takes(method: str, modalities: list[str]) -> list[str]:
    """The modalities that a method fits."""
    if method in VIEWED:
        return ["image"]
    return [name for name in modalities if (method in ACTING) == (name == "trajectory")]


def losses(case: str, out: Path) -> list[float]:
    """Train a case in an empty folder and return the loss of every step.

    Raises:
        RuntimeError: the run failed, or nobody has said yet how a run of this modality is made small.
    """
    from worldjepa.cli import main

    method, _, modality = case.rpartition("-")
    if modality not in TOY:
        raise RuntimeError(f"add the words that make a run of modality={modality} small to TOY in {__file__}")
    small = [*INSTEAD.get(method, TOY[modality]), *SMALL.get(method, [])]
    words = [f"modality={modality}", *RUN, f"method={method}", *small, f"run.out={out}"]
    if main(["train", *words]) != 0:
        raise RuntimeError(f"the run {case} failed")
    rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


def write(case: str) -> None:
    """Make the golden file of a case anew; embedded data are drawn anew too, and not those of an older version in a cache."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, WORLDJEPA_HOME=f"{folder}/home"):
        numbers = losses(case, Path(folder) / "run")
    (FOLDER / f"{case}.json").write_text(json.dumps({"losses": numbers}, indent=1) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or cases():
        write(name)
