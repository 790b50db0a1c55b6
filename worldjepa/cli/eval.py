"""`worldjepa eval`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, suggest

HELP = """
usage: worldjepa eval checkpoint=PATH [out=FILE.json] [data=OPTION] [data.KEY=VALUE] [probe.KEY=VALUE] [run.KEY=VALUE]
                      [--config-dir DIR ...]

Measures the representations of a trained model: nearest neighbours and probes where the data have labels, rank and
variance always. Model and data are those of the checkpoint; data, probe and run keys replace what it says.

  checkpoint=PATH    a checkpoint, or the folder of a run
  out=FILE.json      also write the numbers to this file
  allow=PREFIX       let the checkpoint's configuration construct classes of yours, such as allow=mypackage.
  --config-dir DIR   more folders with options of your own; may be repeated
"""

_OWN = ("checkpoint", "out", "allow")
_PASSED_ON = ("data", "probe", "run")


def run(words: Sequence[str]) -> int:
    """Evaluate the checkpoint that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, there is no checkpoint, or the results could not be written.
    """
    arguments = parse(words)
    own, overrides = _sort(arguments.words)
    if not own.get("checkpoint"):
        raise UserError("eval needs a model: worldjepa eval checkpoint=PATH (a checkpoint, or the folder of a run)")
    checkpoint = Path(own["checkpoint"]).expanduser()
    if not checkpoint.exists():
        raise not_there("checkpoint", checkpoint)
    out = _out(own.get("out"))
    for folder in arguments.config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    from worldjepa.cli.measure import evaluate

    allow = [prefix for prefix in own.get("allow", "").split(",") if prefix]
    return evaluate(checkpoint, overrides, arguments.config_dirs, out, allow)


def _sort(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split the words into this verb's own keys and those for the configuration."""
    own: dict[str, str] = {}
    passed: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in _OWN and equals:
            own[key] = value
        elif key.lstrip("+~").split(".")[0] in _PASSED_ON and equals:
            passed.append(word)
        else:
            raise _not_understood(word)
    return own, passed


def _not_understood(word: str) -> UserError:
    keys = (*_OWN, *_PASSED_ON)
    bare = word.lstrip("-").partition("=")[0]
    if "=" not in word and not word.startswith("-") and Path(word).exists():
        return UserError(f"options are written key=value, not '{word}' (did you mean 'checkpoint={word}'?)")
    if "=" not in word or word.startswith("-"):
        return UserError(f"options are written key=value, not '{word}'{suggest(bare, keys)}")
    return UserError(
        f"key '{bare}' is not one of eval's{suggest(bare.split('.')[0], keys)}; allowed: {', '.join(keys)}"
    )


def _out(given: str | None) -> Path | None:
    if not given:
        return None
    out = Path(given).expanduser()
    if out.is_dir():
        raise UserError(f"out={given} is a folder: name the file, as in out={out / 'eval.json'}")
    if not out.parent.exists():
        raise not_there("the folder for out,", out.parent)
    return out
