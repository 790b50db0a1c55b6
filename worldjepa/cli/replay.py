"""`worldjepa replay`: repeat a step that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, suggest

HELP = """
usage: worldjepa replay FOLDER [rank=N] [allow=PREFIX]

Repeats a step whose loss or gradient was not finite, from the folder that the run left below replay/, and names the first
module and the parameters in which it shows.

  rank=N        of which process, where there were several; 0 by default
  allow=PREFIX  let the configuration construct classes of yours, such as allow=mypackage.
"""


def run(words: Sequence[str]) -> int:
    """Repeat the step that the words name.

    Returns:
        0 if it came out as it did in the run, 1 if not.

    Raises:
        UserError: a word is not understood, or the folder holds no such step.
    """
    path, rank, allow = _sort(parse(words).words)
    if not path.exists():
        raise not_there("replay", path)
    from omegaconf import DictConfig, OmegaConf

    from worldjepa.cli.validate import settings, validate
    from worldjepa.train import checkpoint
    from worldjepa.train.replay import replay
    from worldjepa.train.trusted import read_config, restrict

    config = read_config(checkpoint.locate(path))
    restrict(config, allow)
    validate(config)
    assert isinstance(config, DictConfig)
    OmegaConf.set_readonly(config, True)
    found = replay(path, config, settings(config)[0], rank)
    for name, value in found.now.items():
        before = found.before.get(name, float("nan"))
        same = float(value).hex() == float(before).hex()
        print(f"{name}: {value} now, {before} in the run{'' if same else ' (differs)'}")
    print(f"first module whose output is not finite: {found.culprit or 'none'}")
    print(
        f"parameters whose gradient is not finite: {len(found.gradients)}, {', '.join(found.gradients[:5]) or 'none'}"
    )
    return 0 if {k: v.hex() for k, v in found.now.items()} == {k: v.hex() for k, v in found.before.items()} else 1


def _sort(words: Sequence[str]) -> tuple[Path, int, list[str]]:
    rank, allow, paths = 0, list[str](), list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        if key == "rank" and value.isdigit():
            rank = int(value)
        elif key == "allow" and equals:
            allow += [prefix for prefix in value.split(",") if prefix]
        elif equals or word.startswith("-"):
            raise UserError(
                f"'{word}' is not one of replay's words{suggest(key, ('rank', 'allow'))}; see replay --help"
            )
        else:
            paths.append(word)
    if len(paths) != 1:
        raise UserError("replay needs one folder: worldjepa replay RUN/replay/step-...")
    return Path(paths[0]).expanduser(), rank, allow
