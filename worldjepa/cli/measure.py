"""The work of `worldjepa eval`: rebuild what a checkpoint holds and measure it beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import settings, validate
from worldjepa.evaluate.judge import Judge, Scores, table
from worldjepa.interfaces import Encoder
from worldjepa.jepa import JEPA
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.train.trusted import read_config, restrict


def evaluate(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], out: Path | None, allow: Sequence[str] = ()
) -> int:
    """Print the table of a checkpoint and write it as JSON if asked to.

    Args:
        path: a checkpoint or a run folder.
        overrides: `data`, `probe` and `run` words that replace what the checkpoint says.
        config_dirs: further folders with options.
        out: where to write the numbers.
        allow: prefixes of classes that the checkpoint's configuration may construct besides our own.

    Raises:
        UserError: the checkpoint is damaged, does not fit, or names classes that are not allowed.
    """
    folder = checkpoint.locate(path)
    saved = read_config(folder)
    restrict(saved, allow)
    config = replace(saved, overrides, config_dirs)
    validate(config)
    run, _, probe = settings(config)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    source = build_source(config)
    judge = Judge(probe, source.probe(), source.train(), fabric.device, fabric.autocast)

    torch.manual_seed(int(config.seed))
    model = build_model(config, steps=1).to(fabric.device)
    rows: dict[str, Scores] = {"chance": judge.chance(), "raw input": judge.raw_input()}
    rows["untrained encoder"] = judge.encoder(released(model))
    checkpoint.load_model(folder, model)
    steps = checkpoint.read_state(folder)["step"]
    rows[f"trained encoder ({steps} steps)"] = judge.encoder(released(model))
    screen_console().print(table({name: scores for name, scores in rows.items() if scores}, title=str(folder)))
    if out is not None:
        write_json(out, {"checkpoint": str(folder), "steps": steps, "scores": rows})
    return 0


def released(model: JEPA) -> Encoder:
    """The encoder that a model is used with."""
    return model.target.released(model.encoder)


def replace(saved: DictConfig, overrides: Sequence[str], config_dirs: Sequence[Path]) -> DictConfig:
    """The checkpoint's configuration with the user's words for data, probe and run in place of its own."""
    config = OmegaConf.create(OmegaConf.to_container(saved))
    assert isinstance(config, DictConfig)
    chosen = [word for word in overrides if "." not in word.partition("=")[0]]
    groups = {word.partition("=")[0] for word in chosen}
    inside = {word: word.partition(".")[0] for word in overrides if word not in chosen}
    if groups:
        of_groups = [word for word, group in inside.items() if group in groups]
        composed = compose_config("train", [*chosen, *of_groups], config_dirs).config
        for group in groups:
            config[group] = OmegaConf.create(OmegaConf.to_container(composed[group], resolve=True))
    rest = [word for word, group in inside.items() if group not in groups]
    merged = OmegaConf.merge(config, OmegaConf.from_dotlist(rest))
    assert isinstance(merged, DictConfig)
    return merged
