"""`worldjepa eval`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import ask, place, sort
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError

HELP = """
usage: worldjepa eval checkpoint=PATH [out=FILE.json] [data=OPTION] [data.KEY=VALUE] [probe.KEY=VALUE] [run.KEY=VALUE]
                      [--config-dir DIR ...]

Measures the representations of a trained model: nearest neighbours and probes where the data have labels, rank and
variance always. Model and data are those of the checkpoint; data, probe and run keys replace what it says. Released weights
bring no data: give data.root=FOLDER or data=OPTION.

  checkpoint=PATH    a run folder, a checkpoint, or released weights: a file of I-JEPA, V-JEPA or V-JEPA 2, a Hugging
                     Face folder, timm's
  out=FILE.json      also write the numbers to this file
  allow=PREFIX       let the checkpoint's configuration construct classes of yours, such as allow=mypackage.
  arch=, heads=      of released weights: the architecture's name, or its number of heads, where a file does not say it
  which=encoder      of released weights: the trained encoder in place of its moving average
  --config-dir DIR   more folders with options of your own; may be repeated
"""

_OWN = ("checkpoint", "out", "allow", "arch", "heads", "which")
_PASSED_ON = ("data", "probe", "run")


def run(words: Sequence[str]) -> int:
    """Evaluate the checkpoint that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, there is no checkpoint, or the results could not be written.
    """
    arguments = parse(words)
    own, overrides = sort("eval", arguments.words, _OWN, _PASSED_ON)
    if not own.get("checkpoint"):
        raise UserError("eval needs a model: worldjepa eval checkpoint=PATH (a checkpoint, or the folder of a run)")
    checkpoint = place(own)
    out = _out(own.get("out"))
    for folder in arguments.config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    from worldjepa.cli.measure import evaluate

    return evaluate(checkpoint, overrides, arguments.config_dirs, out, ask(own))


def _out(given: str | None) -> Path | None:
    if not given:
        return None
    out = Path(given).expanduser()
    if out.is_dir():
        raise UserError(f"out={given} is a folder: name the file, as in out={out / 'eval.json'}")
    if not out.parent.exists():
        raise not_there("the folder for out,", out.parent)
    return out
