"""The work of `worldjepa eval`: rebuild what a checkpoint holds and measure it beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from worldjepa.cli.compose import compose_config
from worldjepa.cli.embedding import data_config
from worldjepa.cli.validate import settings, validate
from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.judge import Judge, Scores, table
from worldjepa.interfaces import Encoder
from worldjepa.interop import load, runs, view
from worldjepa.interop.build import instantiated
from worldjepa.interop.saved import refuse
from worldjepa.interop.sizes import Ask
from worldjepa.interop.source import CONFIG, WEIGHTS
from worldjepa.jepa import JEPA
from worldjepa.train import checkpoint
from worldjepa.train.build import build_model, build_source, fit
from worldjepa.train.folder import write_json
from worldjepa.train.logs import screen_console
from worldjepa.train.trusted import read_config, restrict


def evaluate(path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], out: Path | None, ask: Ask) -> int:
    """Print the table of a checkpoint and write it as JSON if asked to.

    Args:
        path: a checkpoint or a run folder of ours, or released weights of any known layout.
        overrides: `data`, `probe` and `run` words that replace what the checkpoint says.
        config_dirs: further folders with options.
        out: where to write the numbers.
        ask: what the user says about the weights.

    Raises:
        UserError: the checkpoint is damaged, does not fit, or names classes that are not allowed.
    """
    if not runs.is_ours(path) and not is_empty_run(path):
        return evaluate_released(path, overrides, config_dirs, out, ask)
    folder = checkpoint.locate(path)
    refuse(ask, str(folder))
    if ask.which != Ask().which:
        raise UserError(f"which={ask.which}: eval measures the encoder that a run is used with; leave which out")
    saved = read_config(folder)
    restrict(saved, ask.allow)
    config = replace(saved, overrides, config_dirs)
    validate(config)
    bench = set_up(config)
    judge = bench.judge
    torch.manual_seed(int(config.seed))
    model = build_model(config, 1, bench.observations).to(bench.device)
    rows: dict[str, Scores] = {"chance": judge.chance(), "raw input": judge.raw_input()}
    rows["untrained encoder"] = judge.encoder(released(model))
    checkpoint.load_model(folder, model)
    steps = checkpoint.read_state(folder)["step"]
    rows[f"trained encoder ({steps} steps)"] = judge.encoder(released(model))
    show(rows, str(folder), steps, out)
    return 0


def evaluate_released(
    path: Path, overrides: Sequence[str], config_dirs: Sequence[Path], out: Path | None, ask: Ask
) -> int:
    """The same for weights that bring no data with them; the data are those of the words.

    Raises:
        UserError: the weights cannot be loaded, no data are named, or they do not fit.
    """
    if not any(word.partition("=")[0].split(".")[0] == "data" for word in overrides):
        raise UserError(f"{path} brings no data with it: give data.root=FOLDER, or data=OPTION (`worldjepa list data`)")
    model = load(path, ask.arch, ask.heads, ask.which, ask.allow)
    config = data_config(model, overrides, config_dirs)
    bench = set_up(config)
    judge = bench.judge
    model.encoder.grid(bench.observations.shape)  # says in its own words what does not fit
    torch.manual_seed(int(config.seed))
    untrained = instantiated(model.facts["encoder"], Encoder, str(path))  # type: ignore[type-abstract]
    fit(untrained, bench.observations)
    rows: dict[str, Scores] = {"chance": judge.chance(), "raw input": judge.raw_input()}
    rows["untrained encoder"] = judge.encoder(untrained.to(bench.device))
    rows["trained encoder"] = judge.encoder(model.encoder.to(bench.device))
    show(rows, str(path), model.facts["steps"], out)
    return 0


class Bench(NamedTuple):
    """What encoders are measured with."""

    judge: Judge
    observations: Observations
    """What training would see."""
    device: torch.device


def set_up(config: DictConfig) -> Bench:
    """The data and the device of a configuration, and the judge of encoders on them."""
    run, _, probe = settings(config)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    fabric = Fabric(accelerator=run.accelerator, devices=1, precision=run.precision)
    source = build_source(config)
    observations = source.train()
    return Bench(
        Judge(probe, source.probe(), observations, fabric.device, fabric.autocast), observations, fabric.device
    )


def is_empty_run(path: Path) -> bool:
    """Whether a folder holds nothing that could be a model: then the message of our own checkpoints says it best."""
    return path.is_dir() and not any((path / name).exists() for name in (CONFIG, *WEIGHTS))


def show(rows: dict[str, Scores], title: str, steps: int | None, out: Path | None) -> None:
    """Print the table, and write it as JSON if asked to."""
    screen_console().print(table({name: scores for name, scores in rows.items() if scores}, title=title))
    if out is not None:
        write_json(out, {"checkpoint": title, "steps": steps, "scores": rows})


def released(model: JEPA) -> Encoder:
    """The encoder that a model is used with."""
    return model.target.released(model.encoder)


def _as_seen(saved: DictConfig, words: Sequence[str], config_dirs: Sequence[Path]) -> list[str]:
    """Words that let other data of the same modality be seen as those of the training were."""
    composed = OmegaConf.to_container(compose_config("train", words, config_dirs).config, resolve=False)
    plain = OmegaConf.to_container(saved, resolve=True)
    assert isinstance(composed, dict)
    assert isinstance(plain, dict)
    here = view.named(composed)  # type: ignore[arg-type]
    seen = {name: value for name, value in view.of_config(plain).items() if name in here and name in composed["data"]}  # type: ignore[arg-type]
    return view.words(seen, {word.partition("=")[0].lstrip("+") for word in words})


def replace(saved: DictConfig, overrides: Sequence[str], config_dirs: Sequence[Path]) -> DictConfig:
    """The checkpoint's configuration with the user's words for data, probe and run in place of its own."""
    config = OmegaConf.create(OmegaConf.to_container(saved))
    assert isinstance(config, DictConfig)
    chosen = [word for word in overrides if "." not in word.partition("=")[0]]
    groups = {word.partition("=")[0] for word in chosen}
    inside = {word: word.partition(".")[0] for word in overrides if word not in chosen}
    if groups:
        of_groups = [word for word, group in inside.items() if group in groups]
        if "data" in groups:
            of_groups += _as_seen(saved, [*chosen, *of_groups], config_dirs)
        composed = compose_config("train", [*chosen, *of_groups], config_dirs).config
        for group in groups:
            config[group] = OmegaConf.create(OmegaConf.to_container(composed[group], resolve=True))
    rest = [word for word, group in inside.items() if group not in groups]
    merged = OmegaConf.merge(config, OmegaConf.from_dotlist(rest))
    assert isinstance(merged, DictConfig)
    return merged
